//! Checkpoints in a folder and on a real S3 server, which also answers late, wrong, short and never.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use palisade_core::EnvironmentName;
use palisade_jobs::{Checkpoint, JobId, State, Token};
use palisade_testkit::{Fault, Proxy, S3, Scratch};
use palisade_worker::checkpoint::{Access, Found, Place, PutError, ReadError};
use palisade_worker::{Context, Report, Reports};
use serde_json::{Value, json};

use crate::yard::{Yard, run};

const BUCKET: &str = "checkpoints";

fn production() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

fn access(port: u16) -> Access {
    Access {
        key_id: Some("test-only".to_owned()),
        secret: Some("test-only-secret".to_owned()),
        session: None,
        region: None,
        endpoint: Some(format!("http://127.0.0.1:{port}")),
    }
}

fn bucket(port: u16) -> Place {
    let place = Place::open(&format!("s3://{BUCKET}/engine"), &access(port), Some(&production())).unwrap();
    place.with_patience(Duration::from_secs(20))
}

/// What every place has to do.
async fn conforms(place: &Place) {
    let one = place.put(JobId(7), Token(3), 1, b"first").await.unwrap();
    assert_eq!((one.key.as_str(), one.bytes), ("production/7/3/1", 5));
    let two = place.put(JobId(7), Token(3), 2, b"second").await.unwrap();
    // The answer to a put may be lost: the same again is no error, other bytes are one.
    assert_eq!(place.put(JobId(7), Token(3), 2, b"second").await.unwrap(), two);
    assert!(matches!(place.put(JobId(7), Token(3), 2, b"other!").await, Err(PutError::Taken { .. })));
    assert_eq!(place.read(&two).await.unwrap(), b"second");

    let wrong = Checkpoint { sha256: "0".repeat(64), ..two.clone() };
    assert!(matches!(place.read(&wrong).await, Err(ReadError::Bad(_))));
    let shorter = Checkpoint { bytes: 4, ..two.clone() };
    assert!(matches!(place.read(&shorter).await, Err(ReadError::Bad(_))));

    let Found::Good { checkpoint, bytes, bad } =
        place.resume(&[wrong.clone(), two.clone(), one.clone()]).await
    else {
        panic!("the second one is good");
    };
    assert_eq!((checkpoint, bytes.as_slice(), bad.len()), (two.clone(), b"second".as_slice(), 1));
    assert!(matches!(place.resume(&[wrong, shorter]).await, Found::AllBad(bad) if bad.len() == 2));
    assert_eq!(place.resume(&[]).await, Found::None);

    place.remove(&two).await.unwrap();
    place.remove(&two).await.unwrap();
    assert!(matches!(place.read(&two).await, Err(ReadError::Bad(_))));
    assert!(matches!(place.resume(&[two, one]).await, Found::Good { bad, .. } if bad.len() == 1));
}

#[test]
fn a_folder_keeps_checkpoints_privately_and_notices_what_was_changed() {
    let scratch = Scratch::new();
    let folder = scratch.join("state/checkpoints");
    let place = Place::folder(folder.clone(), Some(&production())).unwrap();
    run(conforms(&place));
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);

    let kept = run(place.put(JobId(1), Token(1), 1, b"as it was")).unwrap();
    fs::write(folder.join("production/1/1/1"), b"as it WAS").unwrap();
    assert!(matches!(run(place.resume(&[kept])), Found::AllBad(_)));
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let scratch = Scratch::new();
    let folder = scratch.join("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(Place::folder(folder, None).is_err());
}

#[test]
fn a_bucket_keeps_checkpoints_under_its_prefix_and_notices_what_was_changed() {
    let server = S3::start();
    server.bucket(BUCKET);
    let place = bucket(server.port());
    run(conforms(&place));
    // The first worker of a place puts something there, the next one finds it.
    run(place.check()).unwrap();
    run(place.check()).unwrap();
    assert!(server.get(BUCKET, "engine/production/0/0/0").is_some());

    let kept = run(place.put(JobId(1), Token(1), 1, b"as it was")).unwrap();
    let key = "engine/production/1/1/1";
    assert_eq!(server.get(BUCKET, key).as_deref(), Some(b"as it was".as_slice()));
    server.put(BUCKET, key, b"as it WAS");
    assert!(matches!(run(place.resume(&[kept])), Found::AllBad(_)));
}

#[test]
fn a_server_that_answers_late_short_or_never_makes_no_checkpoint_bad() {
    let server = S3::start();
    server.bucket(BUCKET);
    let proxy = Proxy::before(server.port());
    let place = bucket(proxy.port());
    let kept = run(place.put(JobId(1), Token(1), 1, &[7; 10_000])).unwrap();

    for fault in [Fault::Short(4_000), Fault::Short(100), Fault::Mute, Fault::Refuse] {
        proxy.order(fault.clone());
        let hasty = place.clone().with_patience(Duration::from_millis(700));
        let found = match run(hasty.resume(std::slice::from_ref(&kept))) {
            // The client asks for the rest of what came short.
            Found::Good { bytes, .. } => bytes == [7; 10_000] && fault == Fault::Short(4_000),
            Found::Unreachable(_) => true,
            Found::None | Found::AllBad(_) => false,
        };
        assert!(found, "{fault:?}");
        let put = run(hasty.put(JobId(1), Token(1), 9, b"never acknowledged"));
        assert!(matches!(put, Err(PutError::Unreachable(_)) | Ok(_)), "{fault:?}: {put:?}");
        proxy.order(Fault::None);
    }
    // Late is not never.
    proxy.order(Fault::Hold);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| run(place.resume(std::slice::from_ref(&kept))));
        proxy.order(Fault::None);
        assert!(matches!(reading.join().unwrap(), Found::Good { bytes, .. } if bytes == [7; 10_000]));
    });
}

#[test]
fn a_put_whose_answer_was_cut_is_a_success_when_it_is_repeated() {
    let server = S3::start();
    server.bucket(BUCKET);
    let proxy = Proxy::before(server.port());
    let place = bucket(proxy.port());
    proxy.order(Fault::CutAt(b"200 OK".to_vec()));
    // The client may repeat it by itself or leave that to us.
    let first = run(place.put(JobId(2), Token(5), 1, b"landed"));
    assert!(proxy.cuts() > 0, "{first:?}");
    assert_eq!(server.get(BUCKET, "engine/production/2/5/1").as_deref(), Some(b"landed".as_slice()));
    let again = run(place.put(JobId(2), Token(5), 1, b"landed")).unwrap();
    assert_eq!(run(place.read(&again)).unwrap(), b"landed");
}

#[test]
fn bytes_that_are_hurt_on_their_way_are_never_handed_to_a_handler() {
    let server = S3::start();
    server.bucket(BUCKET);
    let proxy = Proxy::before(server.port());
    let place = bucket(proxy.port()).with_patience(Duration::from_secs(5));
    let kept = run(place.put(JobId(3), Token(5), 1, &[7; 10_000])).unwrap();
    proxy.order(Fault::Wrong);
    let found = run(place.resume(std::slice::from_ref(&kept)));
    assert!(matches!(found, Found::AllBad(_) | Found::Unreachable(_)), "{found:?}");
}

#[test]
fn half_of_a_key_is_refused_before_anybody_is_asked() {
    let whole = access(9);
    let halves = [Access { secret: None, ..whole.clone() }, Access { key_id: None, ..whole.clone() }];
    for half in halves {
        let refused = Place::open("s3://bucket/engine", &half, None).unwrap_err().to_string();
        assert!(refused.contains("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{refused}");
    }
    Place::open("s3://bucket/engine", &whole, None).unwrap();
    Place::open("s3://bucket/engine", &Access { key_id: None, secret: None, ..whole }, None).unwrap();
}

#[test]
fn a_worker_whose_bucket_is_not_there_says_so_at_its_start_and_does_its_jobs() {
    let server = S3::start();
    let place = Place::open("s3://mistyped/engine", &access(server.port()), None).unwrap();
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let (reports, told) = Reports::new();
        let drive = async {
            yard.until_state(job, State::Succeeded).await;
            let mut seen = Vec::new();
            while !seen.iter().any(|report| matches!(report, Report::CheckpointsAway { .. })) {
                seen.extend(told.try_iter());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            yard.drain();
            seen
        };
        let handler = |_: Context<Value>| async { Ok(()) };
        let (seen, ()) = tokio::join!(drive, yard.work_as(yard.settings(), place, reports, handler));
        let is_told = |report: &Report| {
            matches!(report, Report::CheckpointsAway { place, problem }
                if place == "s3://mistyped/engine" && problem.contains("NoSuchBucket"))
        };
        assert!(seen.iter().any(is_told), "{seen:?}");
    });
}
