"""How a custodian is reached, as its profile states it: where files go, and where what it sends back is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from engine.errors import InvalidInput
from engine.plans.fields import Part

Secret = Annotated[str, Field(pattern="^CUSTODIAN_[A-Z0-9_]+$", max_length=64)]
"""The name of an environment variable that holds the value: no file names an account, an address or a key."""

_Place = Annotated[str, Field(min_length=1, max_length=200)]
_Header = Annotated[str, Field(pattern="^[A-Za-z0-9-]+$", max_length=64)]


class FolderRoute(Part):
    """Two folders beside the debit files: files are put into `out`, and what came is found in `in`."""

    kind: Literal["folder"] = "folder"


class HttpRoute(Part):
    """Files are posted as they are, one a request; what the bank has ready stands in a list.

    `url_from`: what the paths are added to. `headers_from`: headers, each with the variable that holds its value (a
    token). `submit`: where files are posted, its query and all. `duplicate`: a text in the answer to a file that the
    bank has already, beside the status 409. `listing`: where what is ready is listed, JSON objects each with its `id`;
    without it nothing is fetched. `only`: keys of its objects, each with the variable that holds what it must be where
    it is anything: a list may hold what is of other accounts. `download`: where one of them is read, `{id}` standing
    for it. `name`, `suffix`: what it is called here, by other keys of its object. With one that changes with its bytes
    (a size, a hash) what the bank writes anew under the same id is fetched anew.
    """

    kind: Literal["http"]
    url_from: Secret
    headers_from: dict[_Header, Secret] = Field(default_factory=dict)
    submit: _Place
    content_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]+(; ?charset=[a-z0-9-]+)?$", max_length=64)]
    duplicate: Annotated[str, Field(min_length=2, max_length=64)] | None = None
    listing: _Place | None = None
    only: dict[_Place, Secret] = Field(default_factory=dict)
    download: Annotated[str, Field(pattern="[{]id[}]", max_length=200)] | None = None
    id: _Place = "id"
    name: _Place = "{id}"
    suffix: Annotated[str, Field(pattern="^[.][a-z0-9]+$", max_length=8)] = ".xml"


class SftpRoute(Part):
    """Two folders of an SFTP server, whose host key is checked. All that `…_from` names stands in the environment.

    `known_hosts_from`: a file of the server's key, as OpenSSH keeps it. `key_from`: a file of the private key.
    """

    kind: Literal["sftp"]
    host_from: Secret
    user_from: Secret
    key_from: Secret
    known_hosts_from: Secret
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    out: _Place = "out"
    into: _Place = "in"


Route = Annotated[FolderRoute | HttpRoute | SftpRoute, Field(discriminator="kind")]


class NotSet(InvalidInput):
    """The environment lacks what a custodian's profile names; no fault of any file."""


def secrets_of(environment: Mapping[str, str], *names: str) -> list[str]:
    """What the environment holds under these names. Raises NotSet that names each that is not set."""
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise NotSet(f"set {' and '.join(missing)} in the environment: the custodian's profile names it")
    return [environment[name] for name in names]


def secret_of(environment: Mapping[str, str], name: str) -> str:
    """What the environment holds under one name. Raises NotSet."""
    return secrets_of(environment, name)[0]
