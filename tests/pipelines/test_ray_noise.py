"""What Ray says that nobody can act on stays off the terminal; what somebody can does not."""

import logging

from pipelines.ray_session import quieten_ray


def test_that_a_token_is_asked_for_is_no_news_and_that_none_is_asked_for_is():
    from ray._private.authentication import authentication_token_setup as setup

    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    setup.logger.addHandler(handler)
    try:
        quieten_ray()
        setup._warn_token_auth_enabled()
        assert said == []
        setup._warn_token_auth_disabled()
    finally:
        setup.logger.removeHandler(handler)
    assert len(said) == 1
    assert "is disabled" in said[0]
