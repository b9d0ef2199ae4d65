"""An expert's API as a process of its own, which may be killed: ``billing_expert.py LETTER BILL [HOST]``.

It prints its port. Every call is a line in the file ``BILL``, written before the answer: the question's name
and the tokens. A question asks for time with ``~SECONDS~``.
"""

import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WRITTEN = 2  # tokens of an answer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = body["messages"][-1]["content"]
        name, wait_s = re.search(r"#(.*?)#", said), re.search(r"~([\d.]+)~", said)
        tokens = len(said) // 4 + WRITTEN
        with open(sys.argv[2], "a", encoding="utf-8") as bill:
            bill.write(json.dumps([name[1] if name else "", tokens]) + "\n")
            bill.flush()
            os.fsync(bill.fileno())
        time.sleep(float(wait_s[1]) if wait_s else 0.0)
        told = {"id": "c", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": len(said) // 4, "completion_tokens": WRITTEN, "total_tokens": tokens}
        ends = {"index": 0, "finish_reason": "stop"}
        if not body.get("stream"):
            choice = {**ends, "message": {"role": "assistant", "content": sys.argv[1]}}
            self.send({**told, "object": "chat.completion", "choices": [choice], "usage": usage})
            return
        told["object"] = "chat.completion.chunk"
        choice = {**ends, "delta": {"role": "assistant", "content": sys.argv[1]}}
        pieces = [{**told, "choices": [choice]}, {**told, "choices": [], "usage": usage}]
        text = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
        self.send(text, "text/event-stream")

    def send(self, content, kind="application/json"):
        data = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer((sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()
