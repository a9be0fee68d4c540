"""What the relay tells the workers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class NewPost(BaseModel):
    """A post that has been committed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    post: int
    author: int
    created_ns: int
    """When the primary inserted it, ns since the epoch; the commit follows within its flush."""
    lsn: int
    """A log position behind its commit."""
