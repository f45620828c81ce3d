"""Which power profile is active, and what the agent is under it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.agent.config import AgentConfig
from schedtuna.agent.loop import LoopOptions
from schedtuna.agent.policies.registry import HandsOffPolicy, make_policy
from schedtuna.agent.profiles.holds import HOLDABLE, MOST_HOLDS, PROFILES, ProfileState
from schedtuna.agent.profiles.switch import LEASE_S, ProfileSwitch
from schedtuna.agent.profiles.words import PROPERTIES, described, introspection
from schedtuna.errors import UsageError


def test_what_is_held_comes_before_what_is_chosen_and_saving_before_speed():
    state = ProfileState()
    assert state.active == "balanced"
    fast = state.hold(":1.1", "performance", "compiles", "org.cc")
    assert state.active == "performance"
    slow = state.hold(":1.2", "power-saver", "battery", "org.low")
    assert state.active == "power-saver"
    state.release(":1.2", slow)
    assert state.active == "performance"
    assert state.forget(":1.1")
    assert not state.forget(":1.1")
    assert (state.active, fast != slow) == ("balanced", True)


def test_a_persons_choice_ends_all_holds_and_tells_which():
    state = ProfileState()
    cookies = [state.hold(f":1.{number}", "performance", "", "") for number in range(3)]
    assert [one.cookie for one in state.choose("power-saver")] == cookies
    assert (state.active, state.holds) == ("power-saver", [])


@pytest.mark.parametrize("profile", ["turbo", "", "balanced"])
def test_what_can_not_be_is_refused(profile):
    state = ProfileState()
    with pytest.raises(UsageError):
        state.hold(":1.1", profile, "", "")
    if profile != "balanced":
        with pytest.raises(UsageError):
            state.choose(profile)
    with pytest.raises(UsageError):
        state.release(":1.1", 1)
    cookie = state.hold(":1.1", "performance", "", "")
    with pytest.raises(UsageError):  # another program's
        state.release(":1.2", cookie)
    for _ in range(MOST_HOLDS - 1):
        state.hold(":1.1", "performance", "", "")
    with pytest.raises(UsageError):
        state.hold(":1.1", "performance", "", "")


OWNERS = st.sampled_from([":1.1", ":1.2"])
STEPS = st.one_of(
    st.tuples(st.just("choose"), st.sampled_from(PROFILES)),
    st.tuples(st.just("hold"), OWNERS, st.sampled_from(HOLDABLE)),
    st.tuples(st.just("forget"), OWNERS),
)


@given(st.lists(STEPS, max_size=30))
def test_who_holds_nothing_decides_nothing(steps):
    state, holds, chosen = ProfileState(), [], "balanced"
    cookies = set()
    for step in steps:
        match step:
            case "choose", profile:
                state.choose(profile)
                holds, chosen = [], profile
            case "hold", owner, profile:
                cookies.add(state.hold(owner, profile, "", ""))
                holds.append((owner, profile))
            case "forget", owner:
                state.forget(owner)
                holds = [one for one in holds if one[0] != owner]
        held = {profile for _, profile in holds}
        expected = "power-saver" if "power-saver" in held else "performance" if held else chosen
        assert state.active == expected
    assert len(cookies) == sum(step[0] == "hold" for step in steps)  # each is another one


def test_the_description_has_all_properties():
    assert described(ProfileState(), PROFILES, "1").keys() == PROPERTIES.keys()
    text = introspection("/net/hadess/PowerProfiles")
    assert all(f'"{name}"' in text for name in PROPERTIES)
    assert '<node name="PowerProfiles"/>' in introspection("/net/hadess")
    assert '<node name="net"/>' in introspection("/")


def test_a_profile_changes_what_its_table_says_and_nothing_else():
    config = AgentConfig.model_validate(
        {
            "policy": "rules",
            "limits": {"settings": ["nice"]},
            "profiles": {"performance": {"limits": {"most_standing": 7}}},
        }
    )
    assert config.under("power-saver").policy == "none"
    assert config.under("balanced") == config
    fast = config.under("performance")
    assert (fast.policy, fast.limits.most_standing, fast.limits.settings) == ("rules", 7, ())
    assert AgentConfig().under("performance").policy == "priority"
    with pytest.raises(UsageError):
        config.under("turbo")


def agent_like(made) -> Any:
    """It, for who takes a whole agent."""
    return made


class Agent:
    """What a switch needs of an agent."""

    class Senses:
        needs = frozenset({"tasks"})

    def __init__(self):
        self.senses, self.log = self.Senses(), self
        self.policy = self.guard = None
        self.options = LoopOptions()
        self.told = []

    def write(self, *_, **__):
        pass

    def tell(self, text):
        self.told.append(text)


def test_a_profile_ends_when_nobody_asks_for_it_any_more():
    now = [0.0]
    agent, made = agent_like(Agent()), []

    def make(name):
        made.append(name)
        return HandsOffPolicy(), LoopOptions()

    switch = ProfileSwitch(make, lambda: now[0])
    switch.set(agent, "performance")
    for now[0] in (LEASE_S - 1, 2 * LEASE_S - 2):
        switch.expire(agent)
        switch.set(agent, "performance")
    assert (switch.name, made) == ("performance", ["performance"])  # asked again, not made anew
    now[0] += LEASE_S + 1
    switch.expire(agent)
    switch.expire(agent)
    assert (switch.name, made) == ("balanced", ["performance", "balanced"])
    assert agent.told[-2] == "nobody asks for the profile performance any more"


def test_a_profile_that_needs_what_is_not_sensed_is_refused():
    class Blind(Agent):
        class Senses:
            needs = frozenset()

    agent = agent_like(Blind())
    with pytest.raises(UsageError, match="the policy rules of the profile performance needs tasks"):
        ProfileSwitch(lambda _name: (make_policy("rules"), LoopOptions())).set(agent, "performance")
    assert agent.policy is None
