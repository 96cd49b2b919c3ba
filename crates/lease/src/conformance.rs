//! What every store of leases has to pass.
//!
//! The suite is a function over a store and a way to let time pass, so that the store in memory passes it in virtual
//! time and a server in real time. A store that differs panics with the rule that it breaks: it is for tests.

#![expect(clippy::manual_async_fn, reason = "a pure crate has no `async fn`; what waits here is the store")]

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use crate::memory::Memory;
use crate::name::{Holder, Name};
use crate::rule::{RESTORED, Term};
use crate::store::{Acquired, Grant, Held, LeaseStore, Seen, Ttl};

/// A lease that ends within the test, and one that does not.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(600);
/// How many ask at once.
const CONTENDERS: usize = 16;

/// Runs the whole suite on a store that holds no lease whose name begins with `suite/`. `pass` lets that much time
/// pass on the store's clock.
///
/// # Panics
/// If the store breaks a rule, or fails.
pub fn check<S, P, F>(store: &S, pass: P) -> impl Future<Output = ()> + Send
where
    S: LeaseStore,
    P: Fn(Duration) -> F + Send + Sync,
    F: Future<Output = ()> + Send,
{
    async move {
        one_has_it_and_the_others_see_who(store).await;
        only_its_own_holder_and_term_renew_and_release(store).await;
        a_holder_that_asks_again_gets_a_new_term(store).await;
        what_is_over_is_taken_over_under_a_higher_term(store, &pass).await;
        renewals_keep_it(store, &pass).await;
        of_many_that_ask_at_once_one_gets_it(store).await;
        random_steps_go_as_the_rules_say(store).await;
        after_a_restore_every_old_term_is_below(store).await;
    }
}

fn name(text: &str) -> Name {
    Name::new(&format!("suite/{text}")).expect("names of the suite are names")
}

fn holder(text: &str) -> Holder {
    Holder::new(text).expect("holders of the suite are names")
}

fn ttl(span: Duration) -> Ttl {
    Ttl::new(span).expect("spans of the suite are spans")
}

fn granted(what: &str, acquired: Acquired) -> Held {
    match acquired {
        Acquired::Granted(Grant { held, .. }) => held,
        Acquired::Busy(seen) => panic!("{what}: not granted, {seen:?} has it"),
    }
}

fn busy(what: &str, acquired: Acquired) -> Seen {
    match acquired {
        Acquired::Busy(seen) => seen,
        Acquired::Granted(grant) => panic!("{what}: granted as {grant:?}"),
    }
}

fn works<T, E: std::error::Error>(answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|error| panic!("the store failed: {error} ({error:?})"))
}

fn one_has_it_and_the_others_see_who<S: LeaseStore>(store: &S) -> impl Future<Output = ()> + Send {
    async move {
        let (name, long) = (name("one"), ttl(LONG));
        assert_eq!(works(store.show(&name).await), None, "a lease that nobody ever had is there");
        let a = granted("a fresh lease", works(store.acquire(&name, &holder("a"), long).await));
        assert_eq!(a, Held { name: name.clone(), term: Term::FIRST, holder: holder("a") });
        let seen = busy("a second holder", works(store.acquire(&name, &holder("b"), long).await));
        assert_eq!((&seen.holder, seen.term), (&holder("a"), Term::FIRST));
        let left = seen.valid_for.expect("it is valid");
        assert!(left <= LONG && left > LONG / 2, "{left:?} is left of {LONG:?}");
        let seen = works(store.show(&name).await).expect("it is there");
        assert!(seen.valid_for.is_some() && seen.holder == holder("a"));
        // Another lease is another lease.
        let other = Name::new("suite/one/more").expect("a name");
        granted("another lease", works(store.acquire(&other, &holder("b"), long).await));
        let names: Vec<_> = works(store.list().await).into_iter().map(|seen| seen.name).collect();
        assert!(names.contains(&name) && names.contains(&other) && names.is_sorted(), "{names:?}");
    }
}

fn only_its_own_holder_and_term_renew_and_release<S: LeaseStore>(
    store: &S,
) -> impl Future<Output = ()> + Send {
    async move {
        let (name, long) = (name("own"), ttl(LONG));
        let own = granted("a fresh lease", works(store.acquire(&name, &holder("a"), long).await));
        let others = [
            Held { holder: holder("b"), ..own.clone() },
            Held { term: own.term.next(), ..own.clone() },
            Held { term: Term::new(0), ..own.clone() },
            Held { name: Name::new("suite/nobody").expect("a name"), ..own.clone() },
        ];
        for other in &others {
            assert!(!works(store.renew(other, long).await), "{other:?} renewed the lease of {own:?}");
            assert!(!works(store.release(other).await), "{other:?} released the lease of {own:?}");
        }
        assert!(works(store.renew(&own, long).await), "its holder could not renew it");
        let seen = works(store.show(&name).await).expect("it is there");
        assert_eq!((seen.renewals, seen.term), (1, own.term), "a renewal is counted and keeps the term");
        assert!(works(store.release(&own).await), "its holder could not release it");
        assert!(!works(store.release(&own).await), "it was released twice");
        assert!(!works(store.renew(&own, long).await), "it was renewed after its release");
        let seen = works(store.show(&name).await).expect("a released lease keeps its record");
        assert_eq!((seen.valid_for, seen.term), (None, own.term));
        let next = granted("a released lease", works(store.acquire(&name, &holder("b"), long).await));
        assert_eq!(next.term, own.term.next(), "a term after a release");
        assert!(!works(store.renew(&own, long).await), "the former holder renewed it");
    }
}

fn a_holder_that_asks_again_gets_a_new_term<S: LeaseStore>(store: &S) -> impl Future<Output = ()> + Send {
    async move {
        let (name, long) = (name("again"), ttl(LONG));
        let first = granted("a fresh lease", works(store.acquire(&name, &holder("a"), long).await));
        let second = granted("its own lease", works(store.acquire(&name, &holder("a"), long).await));
        assert_eq!(second.term, first.term.next());
        assert!(!works(store.renew(&first, long).await), "the lost answer's term still renews");
        assert!(works(store.renew(&second, long).await));
    }
}

fn what_is_over_is_taken_over_under_a_higher_term<S, P, F>(
    store: &S,
    pass: &P,
) -> impl Future<Output = ()> + Send
where
    S: LeaseStore,
    P: Fn(Duration) -> F + Send + Sync,
    F: Future<Output = ()> + Send,
{
    async move {
        let (name, short) = (name("over"), ttl(SHORT));
        let old = granted("a fresh lease", works(store.acquire(&name, &holder("a"), short).await));
        pass(SHORT * 2).await;
        assert!(!works(store.renew(&old, short).await), "a lease that is over was renewed");
        assert!(!works(store.release(&old).await), "a lease that is over was released");
        let seen = works(store.show(&name).await).expect("a lease that is over keeps its record");
        assert_eq!((seen.valid_for, &seen.holder), (None, &holder("a")));
        let new = granted("a lease that is over", works(store.acquire(&name, &holder("b"), ttl(LONG)).await));
        assert_eq!(new.term, old.term.next());
        assert!(!works(store.renew(&old, short).await), "the former holder renewed it");
        assert!(!works(store.release(&old).await), "the former holder released it");
        assert!(works(store.renew(&new, ttl(LONG)).await));
    }
}

fn renewals_keep_it<S, P, F>(store: &S, pass: &P) -> impl Future<Output = ()> + Send
where
    S: LeaseStore,
    P: Fn(Duration) -> F + Send + Sync,
    F: Future<Output = ()> + Send,
{
    async move {
        // The span is long enough for a busy machine; what is shown is that a renewal counts from now.
        let (name, span) = (name("kept"), SHORT * 8);
        let own = granted("a fresh lease", works(store.acquire(&name, &holder("a"), ttl(span)).await));
        for _ in 0..3 {
            pass(span / 2).await;
            assert!(works(store.renew(&own, ttl(span)).await), "it ended in spite of renewals");
        }
        busy("a lease that is renewed", works(store.acquire(&name, &holder("b"), ttl(span)).await));
        let renewals = works(store.show(&name).await).map(|seen| seen.renewals);
        assert_eq!(renewals, Some(3));
    }
}

fn of_many_that_ask_at_once_one_gets_it<S: LeaseStore>(store: &S) -> impl Future<Output = ()> + Send {
    async move {
        let (name, long) = (name("race"), ttl(LONG));
        let holders: Vec<_> = (0..CONTENDERS).map(|at| holder(&format!("h{at}"))).collect();
        for round in 1..=4 {
            let asked = holders.iter().map(|holder| store.acquire(&name, holder, long));
            let answers = together(asked.collect()).await;
            let mut winners = Vec::new();
            for answer in answers {
                if let Acquired::Granted(grant) = works(answer) {
                    winners.push(grant.held);
                }
            }
            let [winner] = winners.as_slice() else { panic!("{} holders of one lease", winners.len()) };
            assert_eq!(winner.term, Term::new(round), "a term is given once, and none is left out");
            assert!(works(store.release(winner).await));
        }
    }
}

fn random_steps_go_as_the_rules_say<S: LeaseStore>(store: &S) -> impl Future<Output = ()> + Send {
    async move {
        let oracle = Memory::default();
        let holders = ["a", "b", "c"].map(holder);
        let name = name("steps");
        let mut shown: Vec<Held> = Vec::new();
        let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
        let mut roll = |sides: usize| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(dice >> 33).unwrap_or_default() % sides
        };
        for step in 0..120 {
            let held = (!shown.is_empty()).then(|| shown[shown.len() - 1 - roll(shown.len().min(4))].clone());
            match (roll(4), held) {
                (0 | 1, _) | (_, None) => {
                    let holder = &holders[roll(holders.len())];
                    let one = works(store.acquire(&name, holder, ttl(LONG)).await);
                    let two = works(oracle.acquire(&name, holder, ttl(LONG)).await);
                    assert_eq!(summary(&one), summary(&two), "step {step}: {holder} asks");
                    if let Acquired::Granted(grant) = one {
                        shown.push(grant.held);
                    }
                }
                (2, Some(held)) => {
                    let (one, two) =
                        (store.renew(&held, ttl(LONG)).await, oracle.renew(&held, ttl(LONG)).await);
                    assert_eq!(works(one), works(two), "step {step}: {held:?} renews");
                }
                (_, Some(held)) => {
                    let (one, two) = (store.release(&held).await, oracle.release(&held).await);
                    assert_eq!(works(one), works(two), "step {step}: {held:?} releases");
                }
            }
        }
    }
}

fn after_a_restore_every_old_term_is_below<S: LeaseStore>(store: &S) -> impl Future<Output = ()> + Send {
    async move {
        let (name, long) = (name("restored"), ttl(LONG));
        let lost = granted("a fresh lease", works(store.acquire(&name, &holder("a"), long).await));
        let before = works(store.list().await);
        let shown = Term::new(lost.term.number() + 41);
        let after = works(store.after_restore(shown).await);
        assert_eq!(after.len(), before.len());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((&before.name, &before.holder), (&after.name, &after.holder));
            assert_eq!(after.valid_for, None, "{} is still held", after.name);
            let least = before.term.number().max(shown.number()) + RESTORED;
            assert_eq!(after.term.number(), least, "{} was not raised enough", after.name);
        }
        assert!(!works(store.renew(&lost, long).await), "a holder from the lost time renewed its lease");
        let next = granted("a lease after a restore", works(store.acquire(&name, &holder("b"), long).await));
        assert!(next.term.number() > shown.number() + RESTORED);
        let again = works(store.after_restore(Term::new(0)).await);
        let raised = again.iter().find(|seen| seen.name == name).map(|seen| seen.term.number());
        assert_eq!(raised, Some(next.term.number() + RESTORED), "a second restore");
    }
}

/// What two stores have to agree on.
fn summary(acquired: &Acquired) -> (bool, u64, Holder) {
    match acquired {
        Acquired::Granted(grant) => (true, grant.held.term.number(), grant.held.holder.clone()),
        Acquired::Busy(seen) => (false, seen.term.number(), seen.holder.clone()),
    }
}

/// A question with its answer, once that is there.
type Waiting<F> = (Pin<Box<F>>, Option<<F as Future>::Output>);

/// Polls all of them until each has its answer.
fn together<F: Future + Send>(futures: Vec<F>) -> impl Future<Output = Vec<F::Output>> + Send
where
    F::Output: Send,
{
    let mut waiting: Vec<Waiting<F>> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(move |context| {
        let mut done = true;
        for (future, answer) in &mut waiting {
            if answer.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(said) => *answer = Some(said),
                    Poll::Pending => done = false,
                }
            }
        }
        if done {
            Poll::Ready(waiting.iter_mut().filter_map(|(_, answer)| answer.take()).collect())
        } else {
            Poll::Pending
        }
    })
}
