"""Requests for vectors of texts and for the order of documents, and their replies."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from experts.catalogue.spec import Task
from serve.wire.expert_request import ExpertRequest

_MOST_TEXTS = 2_048
_TEXT = Annotated[str, StringConstraints(min_length=1)]
_TOKENS = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)]
_MANY = Annotated[list[_TEXT] | list[_TOKENS], Field(min_length=1, max_length=_MOST_TEXTS)]


class VectorRequest(ExpertRequest):
    """What both have: no stream, and no words that an answer could be read from."""

    stream: ClassVar[bool] = False
    limit: ClassVar[int | None] = None
    n: ClassVar[int | None] = None
    messages: ClassVar[None] = None
    wants_usage: ClassVar[bool] = False

    @property
    def may_be_kept(self) -> bool:
        """Nothing but the cost: nobody learns to answer questions from it."""
        return False


class EmbeddingsRequest(VectorRequest):
    """OpenAI's embeddings. Vectors of two models cannot be compared: name the expert, unless there is one."""

    task: ClassVar[Task] = "embeddings"

    input: _TEXT | _TOKENS | _MANY = Field(description="a text, token ids, or a list of either")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="how numbers are sent")
    dimensions: int | None = Field(None, ge=1, le=100_000, description="length of the vectors")

    @property
    def query(self) -> str:
        """The first text, for the records."""
        first = self.input[0] if isinstance(self.input, list) else self.input
        return first if isinstance(first, str) else ""


class RerankRequest(VectorRequest):
    """The order of documents by how well they fit a query, in the words that Cohere, Jina and vLLM share."""

    task: ClassVar[Task] = "rerank"

    query: str = Field(min_length=1, description="what is looked for")
    documents: list[str] = Field(min_length=1, max_length=_MOST_TEXTS, description="what is put in order")
    top_n: int | None = Field(None, ge=1, le=_MOST_TEXTS, description="how many of the best are returned")
    return_documents: bool | None = Field(None, description="return the texts of the documents too")


class EmbeddingsReply(BaseModel):
    """OpenAI's list of vectors, with our ``leeroo`` object (who answered, and why)."""

    model_config = ConfigDict(extra="allow")

    object: Literal["list"] = Field(description="always list")
    data: list[dict[str, Any]] = Field(description="a vector for each text, in their order")
    model: str = Field(description="the expert that answered")
    usage: dict[str, Any] = Field(description="token counts")
    leeroo: dict[str, Any] = Field(description="expert, cost, what was tried")


class RerankReply(BaseModel):
    """The documents by their scores, with our ``leeroo`` object (who answered, and why)."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="id of the answer")
    results: list[dict[str, Any]] = Field(description="index and relevance_score, the best first")
    model: str = Field(description="the expert that answered")
    usage: dict[str, Any] = Field(description="token counts")
    leeroo: dict[str, Any] = Field(description="expert, cost, what was tried")
