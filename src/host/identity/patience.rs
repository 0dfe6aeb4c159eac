//! Reads that the kernel may not return from: the arguments of a process are behind a lock of its
//! memory, and whoever maps a file of a dead NFS server sleeps with that lock held. `ps` hangs then.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// How long one read may take. It takes some 50 µs.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so many that hang, the rest is left alone.
const MOST_HANGING: usize = 4;

/// Has another thread read all of these, in order; `None` for what it has not come back from. That
/// thread stays behind, and another one goes on with the rest.
pub(super) fn read_all<Request, Answer>(
    requests: impl IntoIterator<Item = Request>,
    read: fn(&Request) -> Answer,
) -> Vec<Option<Answer>>
where
    Request: Send + Sync + 'static,
    Answer: Send + 'static,
{
    read_within(PATIENCE, requests, read)
}

fn read_within<Request, Answer>(
    patience: Duration,
    requests: impl IntoIterator<Item = Request>,
    read: fn(&Request) -> Answer,
) -> Vec<Option<Answer>>
where
    Request: Send + Sync + 'static,
    Answer: Send + 'static,
{
    let requests: Arc<[Request]> = requests.into_iter().collect();
    let mut answers = Vec::with_capacity(requests.len());
    let mut hanging = 0;
    while answers.len() < requests.len() && hanging < MOST_HANGING {
        let (send, answer) = channel();
        let (rest, done) = (Arc::clone(&requests), answers.len());
        let work = move || {
            // Where nobody waits any more, nobody needs the rest either.
            let _ = rest[done..].iter().try_for_each(|request| send.send(read(request)));
        };
        if thread::Builder::new().spawn(work).is_err() {
            break;
        }
        while answers.len() < requests.len() {
            match answer.recv_timeout(patience) {
                Ok(answer) => answers.push(Some(answer)),
                Err(RecvTimeoutError::Timeout) => {
                    hanging += 1;
                    answers.push(None);
                    break;
                }
                // It has died of the one at hand.
                Err(RecvTimeoutError::Disconnected) => {
                    answers.push(None);
                    break;
                }
            }
        }
    }
    answers.resize_with(requests.len(), || None);
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hangs at odd numbers, for longer than the process lives.
    fn half(number: &u32) -> u32 {
        if number % 2 == 1 {
            thread::sleep(Duration::from_secs(86_400));
        }
        number / 2
    }

    fn read(patience: Duration, numbers: &[u32]) -> Vec<Option<u32>> {
        read_within(patience, numbers.to_vec(), half)
    }

    #[test]
    fn what_hangs_is_left_behind_and_the_rest_is_read() {
        let patience = Duration::from_secs(5);
        assert_eq!(read(patience, &[]), []);
        assert_eq!(read(patience, &[2, 4, 6]), [Some(1), Some(2), Some(3)]);
        assert_eq!(read(patience, &[2, 1, 4]), [Some(1), None, Some(2)]);
    }

    #[test]
    fn after_a_few_that_hang_the_rest_is_left_alone() {
        assert_eq!(read(Duration::from_millis(1), &[1, 3, 5, 7, 2]), [None; 5]);
    }
}
