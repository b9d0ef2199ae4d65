"""Settings of an endpoint, resolved once; the room that all rooms of `serve` may look into."""

from serve.config.settings import ServeConfig, is_loopback, served_experts

__all__ = ["ServeConfig", "is_loopback", "served_experts"]
