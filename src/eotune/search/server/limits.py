"""What the server takes from a client, and how much at a time."""

from pydantic import Field

from eotune.core.config import Config


class ServerLimits(Config):
    """Bounds on what a request may ask for, and on what the server holds at once.

    Attributes:
        max_k: Results of one search.
        max_text: Letters of a query.
        max_image_bytes: Of an image to search by.
        max_image_pixels: Likewise, looked up before it is decoded.
        max_body_bytes: Of every other request's body.
        body_seconds: Until a body has to be there.
        workers: Searches and thumbnails that are worked on at once.
        waiting: How many may wait for that; the next one is told to come again.
        connections: Requests at once, those included whose body is still coming.
        cache_bytes: Of thumbnails kept in memory.
    """

    max_k: int = Field(200, ge=1, le=10_000)
    max_text: int = Field(500, ge=1)
    max_image_bytes: int = Field(16 * 2**20, ge=1)
    max_image_pixels: int = Field(25_000_000, ge=1)
    max_body_bytes: int = Field(64 * 2**10, ge=1)
    body_seconds: float = Field(30.0, gt=0)
    workers: int = Field(2, ge=1)
    waiting: int = Field(128, ge=0)
    connections: int = Field(256, ge=1)
    cache_bytes: int = Field(64 * 2**20, ge=0)
