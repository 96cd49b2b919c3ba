//! What a holder makes of a judge that is silent, beside what tests of real firewalls show.

use std::os::unix::fs::PermissionsExt as _;

use tokio::runtime::Builder;

use super::*;

#[test]
fn a_judge_that_never_says_whether_it_can_judge_is_given_up() {
    let folder = palisade_testkit::Scratch::new();
    let path = folder.write("silent", "#!/bin/sh\nexec sleep 100000\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = Program { path, args: Vec::new(), sockets: Vec::new() };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(rehearse(&program, Duration::from_millis(50))).unwrap();
    assert!(found.unwrap_err().text.contains("did not say within 50ms"));
}

/// A question that is nearly as long as one can be.
fn asked(answer: oneshot::Sender<Answer>) -> ToHolder {
    let client = Peer { pid: 1, uid: 0, gid: 0, process: None };
    let question = Question::Control { line: "x".repeat(1 << 20) };
    ToHolder::Ask { connection: 1, client, question, steps: None, answer }
}

#[test]
fn what_a_judge_that_reads_nothing_is_asked_is_bounded_and_the_rest_is_answered_without_it() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = palisade_testkit::Scratch::new();
        let program = Program { path: OWN_IMAGE.into(), args: Vec::new(), sockets: Vec::new() };
        let (_asks, heard) = mpsc::channel(QUEUE);
        let mut holder = Holder::new(folder.path(), program, heard, oneshot::channel().0);
        let child = Command::new("sleep").arg("100000").kill_on_drop(true).spawn().unwrap();
        let (ours, _reads_nothing) = StdStream::pair().unwrap();
        let pair = Pair::new(ours, Vec::new()).unwrap();
        let judge = Judge { child, pair, since: Instant::now(), is_ready: true, silent: 0 };
        holder.seat = Seat::Taken(Box::new(judge));
        let mut answers: Vec<_> = (0..40)
            .map(|_| {
                let (answer, answered) = oneshot::channel();
                holder.take(asked(answer));
                answered
            })
            .collect();
        let refused = answers.iter_mut().filter_map(|answered| answered.try_recv().ok());
        let refused: Vec<_> = refused.collect();
        assert!((20..30).contains(&refused.len()), "{} of 40 MiB were answered", refused.len());
        let reason = "the firewall's judge reads no further question".to_owned();
        assert!(refused.iter().all(|answer| *answer == Answer::Refuse(reason.clone())), "{refused:?}");
        // Those before them still wait for the judge.
        assert_eq!(holder.waiting.len() + refused.len(), 40);
    });
}
