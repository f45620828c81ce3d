"""The page of a certificate: each outcome, how to see failures again, and nothing of theirs unescaped."""

from schedtuna.experiment.vet.certificate import VetCertificate, VetOutcome, VetResult
from schedtuna.experiment.vet.plan import VetCase, VetPlan
from schedtuna.report.page import render
from schedtuna.report.vet import vet_page


def case(adversary, topology="2x1x1"):
    return VetCase(kernel="7.3.4", topology=topology, adversary=adversary)


RESULTS = (
    VetResult(case=case("pinned"), outcome=VetOutcome.OK, longest_wait_s=0.25, usual_wait_s=0.125),
    VetResult(
        case=case("quota"),
        outcome=VetOutcome.STALLED,
        reason="runnable task stall (<b>evil</b>[3])",
        after_s=4.2,
        dump="line one\n<script>",
        hash="ab",
        replay_hash="ab",
    ),
    VetResult(case=case("hotplug", "1x1x1"), outcome=VetOutcome.NOT_RUN, reason="it needs 2 CPUs"),
)


def test_the_page_has_every_outcome_and_escapes_what_others_wrote():
    plan = VetPlan(
        scheduler="scx_x",
        program="/x 12",
        cases=tuple(result.case for result in RESULTS),
        seconds=3,
        seed=7,
        is_quick=True,
        qemu="10",
    )
    certificate = VetCertificate(plan=plan, results=RESULTS, limits=("a limit",))
    text = render(vet_page(certificate, "scx_x"))
    for words in (
        "ok, 0.25 s (0.125 s)",
        "1 of 2 failed",
        "after 4.2 s",
        "it needs 2 CPUs",
        "a limit",
        "--adversary quota --for 3s --seed 7",
        "bit for bit",
        "&lt;b&gt;evil",
        "&lt;script&gt;",
    ):
        assert words in text, words
    assert "<script>" not in text
