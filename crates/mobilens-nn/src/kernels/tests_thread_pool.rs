//! Every task runs once, whoever comes late, falls asleep, or panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::ThreadPool;

/// Runs so many tasks, and checks that each ran once, on a thread that nobody else was.
fn run_and_check(pool: &mut ThreadPool, tasks: usize) {
    let runs: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
    let busy: Vec<_> = (0..pool.threads())
        .map(|_| AtomicBool::new(false))
        .collect();
    pool.parallel_for(tasks, &|task, thread| {
        assert!(!busy[thread].swap(true, Ordering::AcqRel), "one at a time");
        runs[task].fetch_add(1, Ordering::Relaxed);
        busy[thread].store(false, Ordering::Release);
    });
    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
}

#[test]
fn every_task_runs_once() {
    for threads in 1..=8 {
        let mut pool = ThreadPool::new(threads).expect("threads");
        assert_eq!(pool.threads(), threads);
        for _ in 0..50 {
            for tasks in [0, 1, 2, 3, 7, 8, 9, 64, 1000] {
                run_and_check(&mut pool, tasks);
            }
        }
    }
}

#[test]
fn pools_with_more_threads_than_processors_do_not_hold_each_other_up() {
    std::thread::scope(|scope| {
        for threads in [2, 3, 5, 8] {
            scope.spawn(move || {
                let mut pool = ThreadPool::new(threads).expect("threads");
                for round in 0..300 {
                    run_and_check(&mut pool, 1 + round % 20);
                }
            });
        }
    });
}

#[test]
fn workers_that_sleep_are_woken() {
    let mut pool = ThreadPool::new(3).expect("threads");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(1));
        // Each task waits for the others, so that all threads must come.
        let all = Barrier::new(3);
        pool.parallel_for(3, &|_, _| {
            all.wait();
        });
    }
}

#[test]
fn the_caller_sleeps_until_a_long_task_of_a_worker_ends() {
    let mut pool = ThreadPool::new(2).expect("threads");
    for _ in 0..5 {
        let both = Barrier::new(2);
        let ended = AtomicBool::new(false);
        pool.parallel_for(2, &|_, thread| {
            both.wait();
            if thread == 1 {
                std::thread::sleep(Duration::from_millis(3));
                ended.store(true, Ordering::Release);
            }
        });
        assert!(ended.load(Ordering::Acquire));
    }
}

#[test]
fn a_loop_ends_without_workers_that_do_not_come() {
    let mut pool = ThreadPool::without_workers(4);
    for tasks in [2, 3, 4, 5, 100] {
        run_and_check(&mut pool, tasks);
    }
    // They come after the end, and find nothing.
    let late = pool.start_late_workers();
    for tasks in [2, 5, 100] {
        run_and_check(&mut pool, tasks);
    }
    drop(pool);
    for worker in late {
        worker.thread().unpark();
        worker.join().expect("a late worker ends with the pool");
    }
}

#[test]
fn a_panic_of_a_task_reaches_the_caller_after_all_tasks() {
    for threads in 1..=4 {
        let mut pool = ThreadPool::new(threads).expect("threads");
        for bad in [0, 9, 19] {
            let runs = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.parallel_for(20, &|task, _| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    assert!(task != bad, "task {bad} fails");
                });
            }));
            let panic = result.expect_err("the panic of a task");
            let message = panic.downcast_ref::<String>().expect("its own message");
            assert_eq!(*message, format!("task {bad} fails"));
            if threads > 1 {
                assert_eq!(runs.into_inner(), 20);
            }
            run_and_check(&mut pool, 20);
        }
    }
}

#[test]
fn workers_are_kept_apart_only_while_processors_are_contended() {
    use super::affinity::CpuSet;
    // On a thread of its own, as the processors that may run it change.
    let check = || {
        let count = || CpuSet::allowed().map(|cpus| cpus.count());
        let Some(all) = count().filter(|count| *count >= 2) else {
            return;
        };
        let mut pool = ThreadPool::without_workers(2);
        pool.contend(2);
        assert_eq!(count(), Some(all - 1));
        run_and_check(&mut pool, 2);
        assert_eq!(count(), Some(all - 1));
        run_and_check(&mut pool, 2);
        assert_eq!(count(), Some(all));
    };
    std::thread::spawn(check)
        .join()
        .expect("as many processors as expected");
}
