"""One file for each way of running experts."""
