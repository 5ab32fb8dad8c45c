"""Rules that cannot work with what is installed are told at start, once, and again when they break again."""

from __future__ import annotations

from notice_site import Site

from dicom_node.config.rules import Rule
from dicom_node.contracts import Accepts, CorrectorSpec, Limits, Units
from dicom_node.contracts.spec import WeightsRef
from dicom_node.notices.book import count_unsent
from dicom_node.notices.routes import note, unusable
from dicom_node.plugins.catalogue import BrokenPlugin, Catalogue

SPEC = CorrectorSpec(
    name="toy", version="1", api=1, title="Toy", inputs={"ct": Accepts(modality="CT", units=Units.HU)},
    methods={"plain": "does", "learned": "does better"}, default_method="plain", factory="x:y",
    limits={"ct": Limits(-1024, 3071)}, weights={"learned": WeightsRef("dicom_node", "no/such/folder", "00" * 32)},
)  # fmt: skip
INSTALLED = Catalogue({"toy": SPEC})


def rule(name: str, corrector: str, method: str | None = None, *, enabled: bool = True) -> Rule:
    return Rule(name=name, corrector=corrector, method=method, enabled=enabled)


def test_a_rule_is_told_that_asks_for_what_does_not_work_here() -> None:
    own = (
        rule("good", "toy"),
        rule("no-weights", "toy", "learned"),
        rule("no-method", "toy", "magic"),
        rule("no-corrector", "elsewhere"),
        rule("off", "elsewhere", enabled=False),
    )
    found = unusable(own, (), INSTALLED)
    assert sorted(found) == [f"route_unusable/{name}" for name in ("no-corrector", "no-method", "no-weights")]
    assert (found["route_unusable/no-weights"].code, found["route_unusable/no-method"].code) == (
        "WeightsError",
        "RequestError",
    )


def test_a_shipped_rule_may_lack_its_corrector_but_not_its_weights() -> None:
    shipped = (rule("default-a", "elsewhere"), rule("default-b", "toy", "learned"))
    assert sorted(unusable((), shipped, INSTALLED)) == ["route_unusable/default-b"]


def test_a_broken_plugin_is_told_without_its_own_words() -> None:
    found = unusable((), (), Catalogue({}, (BrokenPlugin("bad", "ValueError: CANARY^NAME"),)))
    assert list(found) == ["plugin_broken/bad"]
    assert "CANARY" not in str(found)


def test_each_start_tells_only_what_is_new(site: Site) -> None:
    broken = unusable((rule("r", "elsewhere"),), (), INSTALLED)
    for now, found in enumerate((broken, broken, {}, broken)):
        with site.database.begin() as tx:
            note(tx, site.book, found, float(now))
    assert site.events() == ["route_unusable", "route_unusable"]


def test_without_a_webhook_nothing_waits_to_be_sent(site: Site) -> None:
    quiet = type(site.book)("CORRECTOR", told=False)
    with site.database.begin() as tx:
        note(tx, quiet, unusable((rule("r", "elsewhere"),), (), INSTALLED), 1.0)
        assert count_unsent(tx) == 0
    assert site.events() == ["route_unusable"]
