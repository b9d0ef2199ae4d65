"""Ask a running endpoint (`leeroo serve --open`) with the openai client: bound the cost, give feedback.

Run: python examples/ask_the_endpoint.py http://127.0.0.1:8000/v1
"""

from __future__ import annotations

import os
import sys

import openai

QUESTION = [{"role": "user", "content": "What is the capital of Peru?"}]


def main(base_url: str) -> None:
    """Print the answer, who gave it, why, and what it cost."""
    client = openai.OpenAI(base_url=base_url, api_key=os.environ.get("LEEROO_KEY", "none"))
    answer = client.chat.completions.create(
        model="leeroo",
        messages=QUESTION,
        max_tokens=24,
        extra_body={"max_cost_usd": 0.001, "min_success": 0.5},
    )
    told = answer.leeroo  # who answered, and why
    print(answer.choices[0].message.content)
    print(f"{told['expert']} for ${told['cost_usd']:.7f}: {told['reason']}")

    said = {"request_id": told["request_id"], "thumb": "up"}
    try:
        print(client.post("/feedback", cast_to=object, body=said))
    except openai.NotFoundError:
        print("nothing is recorded of this answer, so feedback on it is not taken")

    stream = client.chat.completions.create(
        model="leeroo:economy", messages=QUESTION, max_tokens=24, stream=True
    )
    print("".join(piece.choices[0].delta.content or "" for piece in stream if piece.choices))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000/v1")
