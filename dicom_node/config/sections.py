"""The sections of the configuration: frozen, every field with a default but the peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, field_validator, model_validator

from dicom_node.config.rules import Rule

AeTitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x20-\x5b\x5d-\x7e]*[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys and endless numbers fail."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TlsServerSection(Section):
    """TLS for those who call the node (PS3.15 B.9 and later: TLS 1.2 or newer)."""

    certificate: Path
    """PEM file with the node's certificate and its chain."""
    key: Path
    """PEM file with the private key."""
    client_ca: Path | None = None
    """PEM file with the authorities that must have signed a caller's certificate; without it callers need none."""
    port: Port | None = None
    """TCP port for TLS beside the plain `node.port`; without it `node.port` itself speaks TLS only."""
    handshake_timeout_s: Annotated[float, Field(gt=0)] = 10
    """A caller whose handshake takes longer is cut off [s]."""


class TlsClientSection(Section):
    """TLS towards a peer."""

    ca: Path | None = None
    """PEM file with the authorities that must have signed the peer's certificate; the system's own without it."""
    certificate: Path | None = None
    """PEM file with the node's certificate, where the peer wants one."""
    key: Path | None = None
    """PEM file with its private key."""
    check_host: bool = True
    """Whether the peer's certificate must name its `host`."""

    @model_validator(mode="after")
    def _both_or_none(self) -> TlsClientSection:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


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
    worker_memory_mb: Annotated[float, Field(ge=512)] | None = None
    """Most memory of a worker process [MB, 1e6 bytes]; without it, its share of the machine's less a reserve."""
    tls: TlsServerSection | None = None


class PeerSection(Section):
    """A DICOM peer that derived series are sent to."""

    ae_title: AeTitle
    host: str
    port: Port
    timeout_s: Annotated[float, Field(gt=0)] = 30
    """Longest wait for one answer of the peer [s]."""
    verify: bool = True
    """Ask by C-FIND whether all sent instances arrived, where the peer offers it."""
    tls: TlsClientSection | None = None


class CallerSection(Section):
    """Somebody who may send to the node; what is left out may be anything."""

    ae_title: AeTitle | None = None
    address: IPvAnyNetwork | None = None
    """An address or a network, e.g. `10.1.0.0/16`."""


class AccessSection(Section):
    """Who may call the node."""

    check_called_ae: bool = False
    """Refuse callers who call the node by another AE title than `node.ae_title`."""
    callers: tuple[CallerSection, ...] = ()
    """Refuse all others; empty lets anyone call."""


class IntakeSection(Section):
    """When an input set counts as complete."""

    quiet_s: Seconds = 30
    """No instance of the patient for this long [s], and every association that sent one is closed."""
    poll_s: Annotated[float, Field(gt=0)] = 0.05
    """Pause between two looks into the spool [s]."""
    request_timeout_s: Annotated[float, Field(gt=0)] = 10
    """A caller that has not asked for an association by then is cut off [s] (PS3.8 9.1.5, ARTIM)."""
    association_timeout_s: Annotated[float, Field(gt=0)] = 60
    """A sender that is silent between two PDUs for this long is cut off [s]."""
    pdu_timeout_s: Annotated[float, Field(gt=0)] = 30
    """A PDU that takes longer from its first byte to its last ends its association [s]."""
    max_associations: Annotated[int, Field(ge=1, le=1024)] = 200
    """Associations at once, over all receiver processes."""
    max_associations_per_address: Annotated[int, Field(ge=1, le=1024)] = 100
    """Of these, from one address."""


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


class RetentionSection(Section):
    """When received studies are deleted again; never before everything made of them is delivered and verified."""

    keep_days: Annotated[float, Field(gt=0)] | None = None
    """Studies without a new image for this long [days] are deleted; without it, age deletes nothing."""
    start_below_free_mb: Annotated[float, Field(ge=0)] | None = None
    """With less free disk than this [MB], the oldest studies are deleted until it is free again; none without it."""
    keep_at_least_h: Annotated[float, Field(ge=0)] = 24
    """The disk watermark deletes nothing younger than this [h]."""
    keep_ledger_days: Annotated[float, Field(gt=0)] = 365
    """Rows of finished jobs and closed associations whose images are gone are kept this long [days]."""


class NotifySection(Section):
    """Who is told when something needs a person."""

    webhook: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """URL that gets a JSON document by POST for each notice; never patient data."""
    timeout_s: Annotated[float, Field(gt=0)] = 5
    unreachable_after_s: Seconds = 300
    """A peer that took nothing for this long [s] although something waits for it is a notice."""


class Config(Section):
    """The whole configuration."""

    node: NodeSection = NodeSection()
    peers: dict[str, PeerSection] = Field(default_factory=dict)
    intake: IntakeSection = IntakeSection()
    jobs: JobsSection = JobsSection()
    access: AccessSection = AccessSection()
    retention: RetentionSection = RetentionSection()
    notify: NotifySection = NotifySection()
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
