//! The floor under the rows about jobs: the same client library, tables with nothing but a number, a text and a token, and
//! no engine. It is no queue: nothing beats, nothing is fenced or kept, and whoever dies takes its jobs along.
//!
//! `bench bare TASK URL JOBS CALLERS`, as `bench contend`. `bench stated latency ..` has our own store's statements in place
//! of the bare ones, and no worker.

use palisade_host::clock::Stopwatch;
use palisade_jobs::claim::Ask;
use palisade_jobs::{Incarnation, JobStore as _, Worker};
use palisade_postgres::{Listener, Session, Target, Type, TypedRow, Value};
use palisade_store::Store;
use serde_json::json;
use tokio::sync::mpsc;

use crate::Outcome;
use crate::contender::{Done, job, measured, note, queue};

/// As many as our worker claims at once, and writes the ends of.
const CLAIMED: i64 = 1_000;
const ENDED: usize = 500;

const TABLE: &str = "CREATE TABLE bare (job bigint PRIMARY KEY, payload text NOT NULL, token bigint); \
    CREATE SEQUENCE bare_token; CREATE INDEX ON bare (job) WHERE token IS NULL";

/// The fields that a claim of ours has.
const CLAIM: &str = "UPDATE bare SET token = nextval('bare_token') WHERE job = ANY (ARRAY(
        SELECT job FROM bare WHERE token IS NULL ORDER BY job LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING false AS limited, false AS stranger, job, token, 1::int2 AS attempts, 20000::int8 AS beat_every_ms,
        90000::int8 AS reap_after_ms, 45000::int8 AS self_fence_ms, payload, 25::int2 AS max_attempts,
        NULL::text AS checkpoints";
const END: &str = "DELETE FROM bare b USING unnest($1::int8[], $2::int8[]) g (job, token)
    WHERE b.job = g.job AND b.token = g.token";
const MAKE: &str = "WITH made AS (INSERT INTO bare (job, payload) VALUES ($1, $2))
    SELECT pg_notify('bare', '')";

async fn connect(url: &str) -> Outcome<Session> {
    let mut session = Session::connect(&Target::parse(url)?).await?;
    session.keep_plans().await?;
    Ok(session)
}

/// What a worker has of a row, and its payload as the value that a handler gets.
fn read(row: &TypedRow) -> Outcome<(i64, i64)> {
    let (_limited, _stranger): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let _terms: [i64; 3] = [row.try_get(5)?, row.try_get(6)?, row.try_get(7)?];
    let _attempts: [i16; 2] = [row.try_get(4)?, row.try_get(9)?];
    let _checkpoints: Option<&str> = row.try_get(10)?;
    let payload: serde_json::Value = serde_json::from_str(row.try_get(8)?)?;
    std::hint::black_box(payload);
    Ok((row.try_get(2)?, row.try_get(3)?))
}

async fn claim(session: &Session, most: i64) -> Outcome<Vec<(i64, i64)>> {
    let rows = session.planned("claim", CLAIM, &[(&most, Type::INT8)]).await?;
    rows.iter().map(read).collect()
}

async fn end(session: &Session, ends: &[(i64, i64)]) -> Outcome<()> {
    let (jobs, tokens): (Vec<i64>, Vec<i64>) = ends.iter().copied().unzip();
    let values: [Value<'_>; 2] = [(&jobs, Type::INT8_ARRAY), (&tokens, Type::INT8_ARRAY)];
    session.planned("end", END, &values).await?;
    Ok(())
}

pub(crate) async fn bulk(url: &str, jobs: usize) -> Outcome<Done> {
    let session = connect(url).await?;
    measured(async {
        session.run("make the table", TABLE).await?;
        let fill = format!(
            "INSERT INTO bare SELECT n, '{{\"sent_us\": 0}}' FROM generate_series(1, {jobs}) n; ANALYZE bare"
        );
        session.run("fill it", &fill).await?;
        Ok(Vec::new())
    })
    .await
}

/// Two connections, as our worker has them: one claims while the other writes ends.
pub(crate) async fn drain(url: &str, jobs: usize) -> Outcome<Done> {
    measured(async {
        let (claiming, ending) = (connect(url).await?, connect(url).await?);
        let (sender, mut claimed) = mpsc::channel::<Vec<(i64, i64)>>(2);
        let claims = async move {
            loop {
                let some = claim(&claiming, CLAIMED).await?;
                if some.is_empty() {
                    return Outcome::<()>::Ok(());
                }
                sender.send(some).await?;
            }
        };
        let ends = async {
            let mut count = 0;
            while let Some(some) = claimed.recv().await {
                for some in some.chunks(ENDED) {
                    end(&ending, some).await?;
                    count += some.len();
                }
            }
            Outcome::<usize>::Ok(count)
        };
        let ((), count) = tokio::try_join!(claims, ends)?;
        if count == jobs { Ok(Vec::new()) } else { Err(format!("{count} of {jobs} jobs ended").into()) }
    })
    .await
}

/// One job after the other, so that nobody waits for a commit but its own.
pub(crate) async fn latency(url: &str, jobs: usize) -> Outcome<Done> {
    let (making, claiming) = (connect(url).await?, connect(url).await?);
    making.run("make the table", TABLE).await?;
    let listener = Listener::connect(&Target::parse(url)?).await?.ok_or("something stands between")?;
    listener.listen("bare").await?;
    let (_listens, mut notes) = listener.split();
    let mut waited = Vec::new();
    let mut tick = tokio::time::interval(crate::contender::EVERY);
    let payload = json!({ "sent_us": 0 }).to_string();
    // The first ones only say that it works.
    for number in 0..jobs + 10 {
        tick.tick().await;
        let watch = Stopwatch::start();
        let job = i64::try_from(number)?;
        let values: [Value<'_>; 2] = [(&job, Type::INT8), (&payload, Type::TEXT)];
        let make = async { making.planned("make", MAKE, &values).await.map_err(Into::into) };
        let take = async {
            notes.next().await.ok_or("the listener ended")?;
            let claimed = claim(&claiming, CLAIMED).await?;
            let passed = watch.elapsed();
            end(&claiming, &claimed).await?;
            Outcome::<_>::Ok((claimed.len(), passed))
        };
        let (_, (count, passed)) = tokio::try_join!(make, take)?;
        if count != 1 {
            return Err(format!("{count} jobs were claimed of 1").into());
        }
        waited.extend((number >= 10).then_some(passed.as_secs_f64() * 1e3));
    }
    Ok(Done { seconds: 0.0, processor: 0.0, waited })
}

/// Our own statements in the same chain: what is over [`latency`] is theirs, and what a worker takes more is the worker's.
pub(crate) async fn stated(url: &str, jobs: usize) -> Outcome<Done> {
    let (making, claiming) = (Store::open(url).await?, Store::open(url).await?);
    let worker = Worker {
        name: "bare".to_owned(),
        incarnation: Incarnation::from_bits(1),
        by: note(),
        start_ticks: 1,
        boot_id: "bench".to_owned(),
        pid_space: None,
    };
    claiming.register(&worker).await?;
    let ask = Ask { queue: queue(), most: 1_000, incarnation: worker.incarnation, reap_after: None };
    let (mut waited, mut heard) = (Vec::new(), 0);
    let mut tick = tokio::time::interval(crate::contender::EVERY);
    making.enqueue(&[job(0)]).await?;
    while claiming.claim(&ask).await?.is_empty() {}
    heard = claiming.woken(&queue(), heard).await;
    for number in 0..jobs + 10 {
        tick.tick().await;
        let watch = Stopwatch::start();
        let made = [job(0)];
        let make = async { making.enqueue(&made).await.map(drop) };
        let take = async {
            heard = claiming.woken(&queue(), heard).await;
            claiming.claim(&ask).await.map(|claims| (claims.len(), watch.elapsed()))
        };
        let ((), (count, passed)) = tokio::try_join!(make, take)?;
        if count == 1 && number >= 10 {
            waited.push(passed.as_secs_f64() * 1e3);
        }
    }
    Ok(Done { seconds: 0.0, processor: 0.0, waited })
}
