"""What requests and answers of the API look like."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from eotune.search.server.limits import ServerLimits

_DATE = r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})?)?$"
_LARGEST = 2**63 - 1

Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Box = tuple[Longitude, Latitude, Longitude, Latitude]
# Not a tuple: tools stumble over prefixItems in answers.
Bounds = Annotated[list[float], Field(min_length=4, max_length=4)]
Score = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]
Date = Annotated[str, Field(pattern=_DATE, description="A day such as 2024-01-31, or a time in ISO 8601; UTC.")]
TileId = Annotated[int, Field(ge=0, le=_LARGEST)]

_BOX = "West, south, east, north in degrees; west may be greater than east: the box lies across the antimeridian."


def _as_tuple(value: Any) -> Any:
    """Return a JSON array as strict validation wants it."""
    return tuple(value) if isinstance(value, list) else value


class SearchRequest(BaseModel):
    """Words, a tile whose like is wanted, or both; and what the tiles found have to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, Field(min_length=1)] | None = Field(None, description="What to look for, in words.")
    like: TileId | None = Field(None, description="More like the tile of this id, which is itself left out.")
    k: int = 20
    bbox: Annotated[Box, BeforeValidator(_as_tuple)] | None = Field(None, description=_BOX)
    since: Date | None = None
    until: Date | None = Field(None, description="The day itself is within.")
    min_score: Score = -1.0


class ImageOptions(BaseModel):
    """As the query of a search by an image."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[str, Field(min_length=1)] | None = Field(None, description="Words to look for at the same time.")
    k: int = 20
    bbox: Annotated[str, Field(max_length=200)] | None = Field(None, description=_BOX + " Commas between.")
    since: Date | None = None
    until: Date | None = Field(None, description="The day itself is within.")
    min_score: Score = -1.0


def within(limits: ServerLimits) -> tuple[type[SearchRequest], type[ImageOptions]]:
    """Return both kinds of request with the server's own limits, so that its OpenAPI document tells them."""
    fields: dict[str, Any] = {
        "k": (Annotated[int, Field(ge=1, le=limits.max_k)], min(20, limits.max_k)),
        "text": (Annotated[str, Field(min_length=1, max_length=limits.max_text)] | None, None),
    }
    return (
        create_model("SearchRequest", __base__=SearchRequest, __doc__=SearchRequest.__doc__, **fields),
        create_model("ImageOptions", __base__=ImageOptions, __doc__=ImageOptions.__doc__, **fields),
    )


class Place(BaseModel):
    """A tile."""

    id: int
    path: str = Field(description="Of its image, in the archive.")
    window: Annotated[list[int], Field(min_length=4, max_length=4)] = Field(
        description="Column, row, width and height in the image, in pixels."
    )
    time: datetime | None = Field(description="When the image was taken.")
    footprint: dict[str, Any] | None = Field(description="GeoJSON geometry in longitude and latitude.")
    bounds: Bounds | None = Field(description=_BOX)
    thumbnail: str = Field(description="Address of its picture on this server.")


class FoundPlace(Place):
    """A tile that was found."""

    score: float = Field(description="Cosine of query and tile.")


class Answer(BaseModel):
    """What a search found, best first."""

    hits: list[FoundPlace]
    seconds: float = Field(description="What the search took, waiting not counted.")


class Summary(BaseModel):
    """What the index holds and what may be asked of it."""

    name: str
    encoder: str
    images: int
    tiles: int
    bounds: Bounds | None = Field(description="Of all footprints. " + _BOX)
    first: datetime | None = Field(description="When the oldest image was taken.")
    last: datetime | None = Field(description="When the newest was.")
    generation: int = Field(description="One more with every change of the index.")
    limits: dict[str, int]
    tiles_url: str | None = Field(description="Template of the base map's tiles, where the server names one.")
    attribution: str | None


class Health(BaseModel):
    """That the server answers."""

    status: str = "ok"


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
