import pytest
from typer.testing import CliRunner

import pipelines.ray_session
from pipelines.cli import app
from serve.ledger.ledger import LEDGER_FILE, Ledger
from warehouse import InputError, LeerooError

run = CliRunner().invoke


def test_ask_prints_the_answer_who_gave_it_and_what_was_expected(local_url):
    done = run(app, ["ask", "What is the capital of Peru?", "--url", local_url, "--model", "leeroo:quality"])
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert told.startswith("onetwothree answered by gemma-3-270m: ")
    assert "expected success 0." in told
    assert "cost $3e-06" in told


def test_chat_goes_on_until_an_empty_line(local_url):
    done = run(app, ["chat", "--url", local_url], input="What is 3 + 21?\nAnd 4 + 28?\n\n")
    assert done.exit_code == 0, done.output
    assert done.output.count("onetwothree") == 2


def test_what_goes_wrong_is_told_with_its_mend(local_url):
    limited = ["ask", "What is 3 + 21?", "--url", local_url, "--max-cost-usd", "1e-12"]
    with pytest.raises(InputError, match="no expert is expected to answer"):
        run(app, limited, catch_exceptions=False)
    with pytest.raises(InputError, match="leeroo serve"):
        run(app, ["ask", "x", "--url", "http://127.0.0.1:9"], catch_exceptions=False)


def test_a_key_comes_from_the_environment(local_url, tmp_path):
    _, secret = Ledger(tmp_path / LEDGER_FILE).create_key("ann")
    with pytest.raises(InputError, match="leeroo keys create"):
        run(app, ["ask", "x", "--url", local_url], catch_exceptions=False)
    assert run(app, ["ask", "What is 3 + 21?", "--url", local_url], env={"LEEROO_KEY": secret}).exit_code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0", "--open"], "may not listen on 0.0.0.0"),
        (["--catalogue", "nope.yaml"], "nope.yaml"),
        (["--node-label", "home"], "--node-label: 'home' is no label"),
        (["--node-label", "=here"], "write NAME=VALUE"),
        ([], "mlflow.db: nothing has been trained here yet"),
    ],
)
def test_what_cannot_be_served_is_refused_before_ray_starts(tmp_path, monkeypatch, options, told):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(pipelines.ray_session, "ray_session", None)  # nobody gets so far
    with pytest.raises(LeerooError) as refused:
        run(app, ["serve", "--home", str(tmp_path), *options], catch_exceptions=False)
    assert told in str(refused.value)
