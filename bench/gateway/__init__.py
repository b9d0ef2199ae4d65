"""What the endpoint costs as a gateway in front of an API, beside others in front of the same one."""
