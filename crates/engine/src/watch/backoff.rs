//! How often a resource was restored, and when the watch stops because another writer keeps changing it. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    time::{Duration, Instant},
};

use crate::{model::address::Address, plan::document::Plan};

/// Rounds within [`ROUND_WINDOW`] after which it is a fight: the one after them is not begun.
const MAX_ROUNDS: usize = 9;
/// In how short a time.
const ROUND_WINDOW: Duration = Duration::from_secs(10);
/// From this round within [`ROUND_WINDOW`] on there is a pause before each, twice as long as the one before.
const BACKOFF_AFTER: usize = 4;
/// The first of these pauses.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Rounds within an hour after which it is a fight, however slow.
const MAX_ROUNDS_PER_HOUR: usize = 120;
/// Restarts of services within an hour after which no further one is made.
const MAX_RESTARTS_PER_HOUR: usize = 3;
/// The time over which those count.
const HOUR: Duration = Duration::from_hours(1);
/// How long after a round what looks like a program of ours is taken for one.
const OWN_EVENT_WINDOW: Duration = Duration::from_secs(1);

/// Whoever may move something: a process, as it is shown.
pub trait Actor: Clone + Display {
    /// Returns the name of whoever is behind it.
    fn responsible(&self) -> &str;

    /// Whether it could be asked who started it.
    fn is_told(&self) -> bool;

    /// Whether it may be a program that this process has started itself.
    fn may_be_ours(&self) -> bool;
}

/// Everything that was brought back.
#[derive(Debug)]
pub struct RestoreHistory<A>(BTreeMap<Address, AddressHistory<A>>);

/// How often one address was restored.
#[derive(Debug)]
pub struct AddressHistory<A> {
    /// When, the oldest first.
    rounds: VecDeque<Instant>,
    /// When with a restart.
    restarts: VecDeque<Instant>,
    /// Who was seen to move it, by who is behind it, and how often.
    writers: BTreeMap<String, (usize, A)>,
    /// Who was seen last since the last round. Somebody else is never replaced by who may be ours.
    last_writer: Option<A>,
    /// Why it is left alone, if it is.
    pub given_up: Option<String>,
    /// How often it was brought back since the start.
    pub total: u64,
}

/// What is to become of a plan.
#[derive(Debug)]
pub enum PlanDecision {
    /// It is carried out.
    Restore,
    /// Not yet.
    NotBefore(Instant),
    /// These are left alone from now on; why.
    Suspend(Vec<(Address, String)>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Decision {
    /// Bring it back.
    Restore,
    /// Bring it back, but not before.
    NotBefore(Instant),
    /// Leave it alone; why.
    Suspend(String),
}

/// Whether an event is attributed to its process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Attribution {
    /// It is.
    Record,
    /// It may be our own doing.
    Ignore,
}

impl<A> Default for RestoreHistory<A> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<A> Default for AddressHistory<A> {
    fn default() -> Self {
        Self {
            rounds: VecDeque::new(),
            restarts: VecDeque::new(),
            writers: BTreeMap::new(),
            last_writer: None,
            given_up: None,
            total: 0,
        }
    }
}

impl<A: Actor> RestoreHistory<A> {
    /// Says what is to become of a plan.
    pub fn decide(&self, plan: &Plan, now: Instant) -> PlanDecision {
        let mut not_before = now;
        let mut suspended = vec![];
        for planned in &plan.changes {
            let is_restart = !planned.effects.restarts.is_empty();
            match self.decide_address(&planned.address, is_restart, now) {
                Decision::Restore => {}
                Decision::NotBefore(then) => not_before = not_before.max(then),
                Decision::Suspend(why) => suspended.push((planned.address.clone(), why)),
            }
        }
        if !suspended.is_empty() {
            PlanDecision::Suspend(suspended)
        } else if not_before > now {
            PlanDecision::NotBefore(not_before)
        } else {
            PlanDecision::Restore
        }
    }

    /// Says whether to bring an address back again.
    fn decide_address(&self, address: &Address, is_restart: bool, now: Instant) -> Decision {
        let Some(history) = self.0.get(address) else {
            return Decision::Restore;
        };
        let within = |rounds: &VecDeque<Instant>, time: Duration| {
            let rounds = rounds.iter();
            rounds
                .filter(|round| now.duration_since(**round) < time)
                .count()
        };
        let short = within(&history.rounds, ROUND_WINDOW);
        let often = |count: usize, time: &str| {
            Decision::Suspend(format!(
                "{} has changed it {count} times within {time}",
                history.top_writer()
            ))
        };
        if short >= MAX_ROUNDS {
            return often(MAX_ROUNDS + 1, "ten seconds");
        }
        if within(&history.rounds, HOUR) >= MAX_ROUNDS_PER_HOUR {
            return often(MAX_ROUNDS_PER_HOUR + 1, "an hour");
        }
        if is_restart && within(&history.restarts, HOUR) >= MAX_RESTARTS_PER_HOUR {
            let reason = format!(
                "services were restarted for it {MAX_RESTARTS_PER_HOUR} times within an hour"
            );
            return Decision::Suspend(reason);
        }
        match (short.checked_sub(BACKOFF_AFTER), history.rounds.back()) {
            (Some(more), Some(last)) => {
                let pause = FIRST_PAUSE * (1 << more.min(MAX_ROUNDS));
                Decision::NotBefore(*last + pause)
            }
            _ => Decision::Restore,
        }
    }

    /// Counts that an address is as it should be again.
    pub fn count_restore(&mut self, address: &Address) {
        self.0.entry(address.clone()).or_default().total += 1;
    }

    /// Notes a round: an address was brought back, or was to be.
    pub fn record_round(&mut self, address: &Address, is_restart: bool, now: Instant) {
        let history = self.0.entry(address.clone()).or_default();
        history.last_writer = None;
        history.rounds.push_back(now);
        if is_restart {
            history.restarts.push_back(now);
        }
        for rounds in [&mut history.rounds, &mut history.restarts] {
            while rounds
                .front()
                .is_some_and(|round| now.duration_since(*round) >= HOUR)
            {
                rounds.pop_front();
            }
        }
    }

    /// Notes who was seen to move an address.
    pub fn record_writer(&mut self, address: &Address, by: A, now: Instant) {
        let history = self.0.entry(address.clone()).or_default();
        let is_recent = |round: &Instant| now.duration_since(*round) < OWN_EVENT_WINDOW;
        if by.may_be_ours() && history.rounds.back().is_some_and(is_recent) {
            return;
        }
        let program = by.responsible().to_owned();
        let (count, last) = history
            .writers
            .entry(program)
            .or_insert_with(|| (0, by.clone()));
        *count += 1;
        *last = by.clone();
        if !by.may_be_ours() || history.last_writer.is_none() {
            history.last_writer = Some(by);
        }
    }

    /// Whether somebody else was seen to move an address since the last round.
    pub fn is_contested(&self, address: &Address) -> bool {
        self.last_writer(address)
            .is_some_and(|by| !by.may_be_ours())
    }

    /// Returns who was seen to move an address last.
    pub fn last_writer(&self, address: &Address) -> Option<&A> {
        self.0.get(address)?.last_writer.as_ref()
    }

    /// Leaves an address alone from now on.
    pub fn suspend(&mut self, address: &Address, why: String) {
        self.0.entry(address.clone()).or_default().given_up = Some(why);
    }

    /// Whether an address is left alone.
    pub fn is_suspended(&self, address: &Address) -> bool {
        let history = self.0.get(address);
        history.is_some_and(|entry| entry.given_up.is_some())
    }

    /// Takes everything up again: somebody has applied something.
    pub fn reset(&mut self) {
        for entry in self.0.values_mut() {
            entry.given_up = None;
            entry.rounds.clear();
            entry.restarts.clear();
        }
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &AddressHistory<A>)> {
        self.0.iter()
    }
}

impl<A: Actor> AddressHistory<A> {
    /// Names who was seen most, and prefers whoever could be asked who started it.
    fn top_writer(&self) -> String {
        let most = self
            .writers
            .values()
            .max_by_key(|(count, actor)| (actor.is_told(), *count));
        most.map_or_else(
            || "an unknown program".to_owned(),
            |(_, actor)| actor.to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    /// A process that ends at once, and who started it if that is known.
    #[derive(Clone)]
    struct Process(usize, Option<&'static str>);

    impl fmt::Display for Process {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "iptables (process {}", self.0)?;
            match self.1 {
                Some(starter) => write!(f, ", started by `{starter}`)"),
                None => write!(f, ")"),
            }
        }
    }

    impl Actor for Process {
        fn responsible(&self) -> &str {
            self.1.unwrap_or("iptables")
        }

        fn is_told(&self) -> bool {
            self.1.is_some()
        }

        fn may_be_ours(&self) -> bool {
            self.1.is_none()
        }
    }

    fn address() -> Address {
        Address::new("iptables-policy", "filter/FORWARD")
    }

    #[test]
    fn fast_overwriter_is_reported_after_ten_rounds() {
        let mut bouts = RestoreHistory::<Process>::default();
        let begin = Instant::now();
        let mut now = begin;
        for round in 1..=MAX_ROUNDS {
            match bouts.decide_address(&address(), false, now) {
                Decision::Restore => assert!(round <= BACKOFF_AFTER, "{round}"),
                Decision::NotBefore(then) => {
                    assert!(round > BACKOFF_AFTER, "{round}");
                    now = now.max(then);
                }
                Decision::Suspend(why) => panic!("round {round}: {why}"),
            }
            let started_by = (round == 3).then_some("sh fight.sh");
            bouts.record_writer(&address(), Process(round, started_by), now);
            bouts.record_round(&address(), false, now);
        }
        assert!(now - begin < ROUND_WINDOW, "{:?}", now - begin);
        let why = "iptables (process 3, started by `sh fight.sh`) has changed it 10 times within ten seconds";
        assert_eq!(
            bouts.decide_address(&address(), false, now),
            Decision::Suspend(why.to_owned())
        );
        bouts.suspend(&address(), why.to_owned());
        assert!(bouts.is_suspended(&address()));
        bouts.reset();
        assert!(!bouts.is_suspended(&address()));
        assert_eq!(
            bouts.decide_address(&address(), false, now),
            Decision::Restore
        );
    }

    #[test]
    fn hourly_limits_suspend_slow_overwriters_and_restarts() {
        let mut bouts = RestoreHistory::<Process>::default();
        let begin = Instant::now();
        for round in 0..MAX_ROUNDS_PER_HOUR {
            let now = begin + Duration::from_secs(2) * u32::try_from(round).unwrap();
            let verdict = bouts.decide_address(&address(), false, now);
            assert!(
                !matches!(verdict, Decision::Suspend(_)),
                "{round}: {verdict:?}"
            );
            bouts.record_round(&address(), false, now);
        }
        let now = begin + Duration::from_mins(20);
        let verdict = bouts.decide_address(&address(), false, now);
        assert!(
            matches!(&verdict, Decision::Suspend(why) if why.contains("an unknown program")),
            "{verdict:?}"
        );
        let much_later = begin + HOUR + Duration::from_mins(10);
        assert_eq!(
            bouts.decide_address(&address(), false, much_later),
            Decision::Restore
        );

        let args = Address::new("kube-args", "kube-proxy");
        for round in 0..3 {
            let now = begin + Duration::from_mins(round);
            assert_eq!(bouts.decide_address(&args, true, now), Decision::Restore);
            bouts.record_round(&args, true, now);
        }
        let now = begin + Duration::from_mins(5);
        assert!(matches!(
            bouts.decide_address(&args, true, now),
            Decision::Suspend(_)
        ));
    }
}
