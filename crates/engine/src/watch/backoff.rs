//! How often a resource was restored, and when the watch stops because another writer keeps changing it. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    time::{Duration, Instant},
};

use crate::{model::address::Address, plan::document::Plan};

/// Rounds within [`SHORT`] after which it is a fight: the one after them is not begun.
const ROUNDS: usize = 9;
/// In how short a time.
const SHORT: Duration = Duration::from_secs(10);
/// From this round within [`SHORT`] on there is a pause before each, twice as long as the one before.
const PATIENT: usize = 4;
/// The first of these pauses.
const PAUSE: Duration = Duration::from_millis(50);
/// Rounds within an hour after which it is a fight, however slow.
const HOURLY: usize = 120;
/// Restarts of services within an hour after which no further one is made.
const RESTARTS: usize = 3;
/// The time over which those count.
const LONG: Duration = Duration::from_hours(1);
/// How long after a round what looks like a program of ours is taken for one.
const ECHO: Duration = Duration::from_secs(1);

/// Whoever may move something: a process, as it is shown.
pub trait Actor: Clone + Display {
    /// Returns the name of whoever is behind it.
    fn behind(&self) -> &str;

    /// Whether it could be asked who started it.
    fn is_told(&self) -> bool;

    /// Whether it may be a program that this process has started itself.
    fn may_be_ours(&self) -> bool;
}

/// Everything that was brought back.
#[derive(Debug)]
pub struct Bouts<A>(BTreeMap<Address, Bout<A>>);

/// How often one address was.
#[derive(Debug)]
pub struct Bout<A> {
    /// When, the oldest first.
    rounds: VecDeque<Instant>,
    /// When with a restart.
    restarts: VecDeque<Instant>,
    /// Who was seen to move it, by who is behind it, and how often.
    seen: BTreeMap<String, (usize, A)>,
    /// Who was seen last since the last round. Somebody else is never replaced by who may be ours.
    newest: Option<A>,
    /// Why it is left alone, if it is.
    pub given_up: Option<String>,
    /// How often it was brought back since the start.
    pub total: u64,
}

/// What is to become of a plan.
#[derive(Debug)]
pub enum Judgement {
    /// It is carried out.
    Now,
    /// Not yet.
    NotBefore(Instant),
    /// These are left alone from now on; why.
    GiveUp(Vec<(Address, String)>),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Bring it back.
    Now,
    /// Bring it back, but not before.
    NotBefore(Instant),
    /// Leave it alone; why.
    GiveUp(String),
}

/// Whether what is heard is held against whoever did it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It is.
    Others,
    /// It may be our own doing.
    Nobody,
}

impl<A> Default for Bouts<A> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<A> Default for Bout<A> {
    fn default() -> Self {
        Self {
            rounds: VecDeque::new(),
            restarts: VecDeque::new(),
            seen: BTreeMap::new(),
            newest: None,
            given_up: None,
            total: 0,
        }
    }
}

impl<A: Actor> Bouts<A> {
    /// Says what is to become of a plan.
    pub fn judge(&self, plan: &Plan, now: Instant) -> Judgement {
        let mut not_before = now;
        let mut fought_over = vec![];
        for planned in &plan.changes {
            let is_restart = !planned.effects.restarts.is_empty();
            match self.verdict(&planned.address, is_restart, now) {
                Verdict::Now => {}
                Verdict::NotBefore(then) => not_before = not_before.max(then),
                Verdict::GiveUp(why) => fought_over.push((planned.address.clone(), why)),
            }
        }
        if !fought_over.is_empty() {
            Judgement::GiveUp(fought_over)
        } else if not_before > now {
            Judgement::NotBefore(not_before)
        } else {
            Judgement::Now
        }
    }

    /// Says whether to bring an address back again.
    fn verdict(&self, address: &Address, is_restart: bool, now: Instant) -> Verdict {
        let Some(bout) = self.0.get(address) else {
            return Verdict::Now;
        };
        let within = |rounds: &VecDeque<Instant>, time: Duration| {
            let rounds = rounds.iter();
            rounds
                .filter(|round| now.duration_since(**round) < time)
                .count()
        };
        let short = within(&bout.rounds, SHORT);
        let often = |count: usize, time: &str| {
            Verdict::GiveUp(format!(
                "{} has changed it {count} times within {time}",
                bout.by()
            ))
        };
        if short >= ROUNDS {
            return often(ROUNDS + 1, "ten seconds");
        }
        if within(&bout.rounds, LONG) >= HOURLY {
            return often(HOURLY + 1, "an hour");
        }
        if is_restart && within(&bout.restarts, LONG) >= RESTARTS {
            let reason = format!("services were restarted for it {RESTARTS} times within an hour");
            return Verdict::GiveUp(reason);
        }
        match (short.checked_sub(PATIENT), bout.rounds.back()) {
            (Some(more), Some(last)) => {
                let pause = PAUSE * (1 << more.min(ROUNDS));
                Verdict::NotBefore(*last + pause)
            }
            _ => Verdict::Now,
        }
    }

    /// Counts that an address is as it should be again.
    pub fn count(&mut self, address: &Address) {
        self.0.entry(address.clone()).or_default().total += 1;
    }

    /// Notes a round: an address was brought back, or was to be.
    pub fn note(&mut self, address: &Address, is_restart: bool, now: Instant) {
        let bout = self.0.entry(address.clone()).or_default();
        bout.newest = None;
        bout.rounds.push_back(now);
        if is_restart {
            bout.restarts.push_back(now);
        }
        for rounds in [&mut bout.rounds, &mut bout.restarts] {
            while rounds
                .front()
                .is_some_and(|round| now.duration_since(*round) >= LONG)
            {
                rounds.pop_front();
            }
        }
    }

    /// Notes who was seen to move an address.
    pub fn accuse(&mut self, address: &Address, by: A, now: Instant) {
        let bout = self.0.entry(address.clone()).or_default();
        let is_recent = |round: &Instant| now.duration_since(*round) < ECHO;
        if by.may_be_ours() && bout.rounds.back().is_some_and(is_recent) {
            return;
        }
        let behind = by.behind().to_owned();
        let (count, newest) = bout.seen.entry(behind).or_insert_with(|| (0, by.clone()));
        *count += 1;
        *newest = by.clone();
        if !by.may_be_ours() || bout.newest.is_none() {
            bout.newest = Some(by);
        }
    }

    /// Whether somebody else was seen to move an address since the last round.
    pub fn is_contested(&self, address: &Address) -> bool {
        self.newest(address).is_some_and(|by| !by.may_be_ours())
    }

    /// Returns who was seen to move an address last.
    pub fn newest(&self, address: &Address) -> Option<&A> {
        self.0.get(address)?.newest.as_ref()
    }

    /// Leaves an address alone from now on.
    pub fn give_up(&mut self, address: &Address, why: String) {
        self.0.entry(address.clone()).or_default().given_up = Some(why);
    }

    /// Whether an address is left alone.
    pub fn is_given_up(&self, address: &Address) -> bool {
        let bout = self.0.get(address);
        bout.is_some_and(|bout| bout.given_up.is_some())
    }

    /// Takes everything up again: somebody has applied something.
    pub fn begin_anew(&mut self) {
        for bout in self.0.values_mut() {
            bout.given_up = None;
            bout.rounds.clear();
            bout.restarts.clear();
        }
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &Bout<A>)> {
        self.0.iter()
    }
}

impl<A: Actor> Bout<A> {
    /// Names who was seen most, and prefers whoever could be asked who started it.
    fn by(&self) -> String {
        let most = self
            .seen
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
        fn behind(&self) -> &str {
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
    fn whoever_sets_it_back_at_once_is_named_in_the_tenth_round() {
        let mut bouts = Bouts::<Process>::default();
        let begin = Instant::now();
        let mut now = begin;
        for round in 1..=ROUNDS {
            match bouts.verdict(&address(), false, now) {
                Verdict::Now => assert!(round <= PATIENT, "{round}"),
                Verdict::NotBefore(then) => {
                    assert!(round > PATIENT, "{round}");
                    now = now.max(then);
                }
                Verdict::GiveUp(why) => panic!("round {round}: {why}"),
            }
            let started_by = (round == 3).then_some("sh fight.sh");
            bouts.accuse(&address(), Process(round, started_by), now);
            bouts.note(&address(), false, now);
        }
        assert!(now - begin < SHORT, "{:?}", now - begin);
        let why = "iptables (process 3, started by `sh fight.sh`) has changed it 10 times within ten seconds";
        assert_eq!(
            bouts.verdict(&address(), false, now),
            Verdict::GiveUp(why.to_owned())
        );
        bouts.give_up(&address(), why.to_owned());
        assert!(bouts.is_given_up(&address()));
        bouts.begin_anew();
        assert!(!bouts.is_given_up(&address()));
        assert_eq!(bouts.verdict(&address(), false, now), Verdict::Now);
    }

    #[test]
    fn a_slow_writer_is_brought_back_for_an_hour_and_restarts_only_thrice() {
        let mut bouts = Bouts::<Process>::default();
        let begin = Instant::now();
        for round in 0..HOURLY {
            let now = begin + Duration::from_secs(2) * u32::try_from(round).unwrap();
            let verdict = bouts.verdict(&address(), false, now);
            assert!(
                !matches!(verdict, Verdict::GiveUp(_)),
                "{round}: {verdict:?}"
            );
            bouts.note(&address(), false, now);
        }
        let now = begin + Duration::from_mins(20);
        let verdict = bouts.verdict(&address(), false, now);
        assert!(
            matches!(&verdict, Verdict::GiveUp(why) if why.contains("an unknown program")),
            "{verdict:?}"
        );
        let much_later = begin + LONG + Duration::from_mins(10);
        assert_eq!(bouts.verdict(&address(), false, much_later), Verdict::Now);

        let args = Address::new("kube-args", "kube-proxy");
        for round in 0..3 {
            let now = begin + Duration::from_mins(round);
            assert_eq!(bouts.verdict(&args, true, now), Verdict::Now);
            bouts.note(&args, true, now);
        }
        let now = begin + Duration::from_mins(5);
        assert!(matches!(
            bouts.verdict(&args, true, now),
            Verdict::GiveUp(_)
        ));
    }
}
