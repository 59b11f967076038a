//! Messages of a mesh keep their order, none is lost, and no worker is left asleep. The tests are
//! small enough for Miri: `cargo miri test mesh`.

use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const MESSAGES: u64 = if cfg!(miri) { 100 } else { 100_000 };

const LEFT: WorkerId = WorkerId(0);
const RIGHT: WorkerId = WorkerId(1);

type End = (Mesh<(WorkerId, u64)>, Receiver<()>);

fn with_wakers(workers: usize, capacity: usize) -> Vec<End> {
    let (wakers, sleepers): (Vec<Sender<()>>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
    let doorbells = wakers
        .into_iter()
        .map(|waker| Doorbell::new(workers, move || waker.send(()).unwrap_or(())))
        .collect();
    mesh(doorbells, capacity).into_iter().zip(sleepers).collect()
}

#[test]
fn what_does_not_fit_waits_in_order() {
    let mut ends = with_wakers(2, 2);
    let (mut right, _) = ends.pop().unwrap();
    let (mut left, _) = ends.pop().unwrap();
    let sent: Vec<_> = (0..5).map(|number| left.send(RIGHT, (LEFT, number))).collect();
    assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::Full, Sent::Queued, Sent::Queued]);
    let mut received = Vec::new();
    let mut opened = Vec::new();
    while received.len() < 5 {
        right.begin_sweep();
        while let Some((_, number)) = right.receive(LEFT) {
            received.push(number);
        }
        left.drain_overflow(|to| opened.push(to));
    }
    assert_eq!((received, opened), (vec![0, 1, 2, 3, 4], vec![RIGHT]));
    assert_eq!(left.send(RIGHT, (LEFT, 5)), Sent::Queued);
}

#[test]
fn a_sleeper_is_woken_once_and_only_when_it_sleeps() {
    let mut ends = with_wakers(2, 8);
    let (right, woken) = ends.pop().unwrap();
    let (mut left, _) = ends.pop().unwrap();
    left.send(RIGHT, (LEFT, 0));
    left.ring_doorbells();
    assert!(woken.try_recv().is_err(), "it is awake");
    assert!(!right.fall_asleep(false), "there is a message");
    let mut right = right;
    right.begin_sweep();
    assert!(right.receive(LEFT).is_some());
    assert!(right.fall_asleep(false));
    left.send(RIGHT, (LEFT, 1));
    left.ring_doorbells();
    left.send(RIGHT, (LEFT, 2));
    left.ring_doorbells();
    assert!(woken.try_recv().is_ok());
    assert!(woken.try_recv().is_err(), "once is enough");
}

#[test]
fn a_stop_is_seen_before_sleep_and_ends_it() {
    let (end, woken) = with_wakers(1, 1).pop().unwrap();
    assert!(end.fall_asleep(false));
    end.doorbell().stop();
    assert!(woken.try_recv().is_ok());
    assert!(!end.fall_asleep(false));
    assert!(end.fall_asleep(true));
}

/// Every worker sends to every other one through rings much smaller than the traffic, and sleeps
/// whenever it has nothing to do. A missed wake-up shows as a worker that waits for ever.
#[test]
fn everything_arrives_in_order_and_nobody_is_left_asleep() {
    let workers = 3;
    let threads: Vec<_> = with_wakers(workers, 4)
        .into_iter()
        .zip(WorkerId::all(workers))
        .map(|((mesh, woken), me)| thread::spawn(move || exchange(me, mesh, &woken)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

fn exchange(me: WorkerId, mut mesh: Mesh<(WorkerId, u64)>, woken: &Receiver<()>) {
    let others: Vec<_> = WorkerId::all(mesh.workers()).filter(|&other| other != me).collect();
    let mut sent = 0;
    let mut full = 0;
    let mut expected = ByWorker::new(mesh.workers(), |_| 0);
    while sent < MESSAGES || full > 0 || others.iter().any(|&other| expected[other] < MESSAGES) {
        if sent < MESSAGES && full == 0 {
            full += others.iter().filter(|&&to| mesh.send(to, (me, sent)) == Sent::Full).count();
            sent += 1;
        }
        mesh.begin_sweep();
        for &from in &others {
            while let Some(message) = mesh.receive(from) {
                assert_eq!(message, (from, expected[from]));
                expected[from] += 1;
            }
        }
        mesh.drain_overflow(|_| full -= 1);
        mesh.ring_doorbells();
        let idle = sent == MESSAGES || full > 0;
        if idle && others.iter().any(|&other| expected[other] < MESSAGES) && mesh.fall_asleep(false)
        {
            let wait = std::time::Duration::from_secs(if cfg!(miri) { 600 } else { 20 });
            woken.recv_timeout(wait).expect("somebody wakes this worker");
            mesh.doorbell().stay_awake();
        }
    }
}
