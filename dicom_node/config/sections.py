"""The sections of the configuration: frozen, every field with a default but the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dicom_node.config.rules import Rule

AeTitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys and endless numbers fail."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NodeSection(Section):
    """This node: its address, data and devices."""

    ae_title: AeTitle = "CORRECTOR"
    host: str = "127.0.0.1"
    port: Port = 11112
    data_dir: Path = Path("./var")
    database: str = "sqlite"
    """`sqlite` for a file in `data_dir`, or an SQLAlchemy URL such as `postgresql+psycopg://node@db/node`."""
    device: Literal["auto", "cpu", "cuda"] | Annotated[str, Field(pattern=r"^cuda:\d+$")] = "auto"
    receivers: Annotated[int, Field(ge=1, le=64)] = 2
    """Receiver processes that share the port."""
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """TCP port on `host` for /metrics, /healthz and /readyz; 0 switches them off."""
    min_free_mb: Annotated[float, Field(ge=0)] = 1024
    """Below this much free disk [MB] C-STORE is answered 0xA700."""
    drain_s: Seconds = 60
    """How long SIGTERM waits for work in hand [s]."""


class PeerSection(Section):
    """A DICOM peer that derived series are sent to."""

    ae_title: AeTitle
    host: str
    port: Port
    timeout_s: Annotated[float, Field(gt=0)] = 30
    """Longest wait for one answer of the peer [s]."""
    verify: bool = True
    """Ask by C-FIND whether all sent instances arrived, where the peer offers it."""


class IntakeSection(Section):
    """When an input set counts as complete."""

    quiet_s: Seconds = 30
    """No instance of the patient for this long [s], and every association that sent one is closed."""
    poll_s: Annotated[float, Field(gt=0)] = 0.5
    association_timeout_s: Annotated[float, Field(gt=0)] = 60
    """A silent sender's association is aborted after this long [s]."""
    max_associations: Annotated[int, Field(ge=1, le=1024)] = 32
    """Associations at once for each receiver process."""


class JobsSection(Section):
    """Attempts, leases and backoff."""

    max_attempts: Annotated[int, Field(ge=1)] = 3
    backoff_s: Annotated[float, Field(gt=0)] = 5
    """First wait before another attempt [s]; doubles each time, with jitter."""
    max_backoff_s: Annotated[float, Field(gt=0)] = 600
    lease_s: Annotated[float, Field(gt=0)] = 60
    """A worker that gives no sign for this long loses its job [s]."""
    delivery_attempts: Annotated[int, Field(ge=1)] = 10
    """Attempts that a peer refuses; an unreachable peer is tried for ever."""


class Config(Section):
    """The whole configuration."""

    node: NodeSection = NodeSection()
    peers: dict[str, PeerSection] = Field(default_factory=dict)
    intake: IntakeSection = IntakeSection()
    jobs: JobsSection = JobsSection()
    routes: tuple[Rule, ...] = ()
    defaults: bool = True
    """Whether the default routes that ship come after `routes`."""
    default_send_to: tuple[str, ...] = ()

    @field_validator("default_send_to")
    @classmethod
    def _unique(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a peer is named twice")
        return value

    @model_validator(mode="after")
    def _peers_exist(self) -> Config:
        known = set(self.peers)
        if unknown := sorted(set(self.default_send_to) - known):
            raise ValueError(f"default_send_to names unknown peers {unknown}; known: {sorted(known)}")
        for rule in self.routes:
            if unknown := sorted(set(rule.send_to or ()) - known):
                raise ValueError(f"route {rule.name!r} sends to unknown peers {unknown}; known: {sorted(known)}")
        names = [rule.name for rule in self.routes]
        if len(set(names)) != len(names):
            raise ValueError("two routes have the same name")
        return self

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the ledger."""
        if self.node.database == "sqlite":
            return f"sqlite:///{self.node.data_dir.resolve() / 'node.sqlite'}"
        return self.node.database
