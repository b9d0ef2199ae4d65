"""Other APIs than the chat completion, translated to it and back: pure functions, no HTTP."""
