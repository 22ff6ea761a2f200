//! An application, and tests of it against a server where things go wrong: `cargo test -p amps-client --example
//! testing_your_app`, or the same as a program: `cargo run -p amps-client --example testing_your_app`.
//!
//! The application is `Pricer`. The tests never sleep: faults happen where the test says, time passes when the test
//! says, and what the application has to do is expected.

use std::error::Error;
use std::time::Duration;

use amps_client::{Client, CommandKind, Reconnect};
use amps_testkit::{Action, Fairness, FakeServer, Fault, Matcher, QueueConfig, Trigger};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const PATIENCE: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(30);

/// The application: takes jobs from a queue, and publishes a result for each.
struct Pricer {
    client: Client,
}

impl Pricer {
    fn start(uri: &str) -> Outcome<Self> {
        let client = Client::builder("pricer-1")
            .server(uri)
            .reconnect(Reconnect::new().initial(Duration::from_millis(5)))
            .connect()?;
        let results = client.clone();
        // On a thread of its own, which may wait. A job is acknowledged when this returns `Ok`, else given back.
        client.subscribe("jobs").max_backlog(5).auto_ack(true).on_message_aside(move |job| {
            results.publish("results", format!("priced {}", job.data_str()?))?;
            Ok(results.flush(PATIENCE)?)
        })?;
        Ok(Self { client })
    }

    /// Finishes what is in hand.
    fn stop(self) -> Outcome {
        Ok(self.client.close()?)
    }
}

fn server() -> Outcome<FakeServer> {
    let jobs = QueueConfig::new("jobs").lease(LEASE).max_backlog(5).fairness(Fairness::RoundRobin);
    Ok(FakeServer::builder().queue(jobs).virtual_clock().start()?)
}

/// The connection breaks in the middle of the second job: it is delivered again, and done.
fn a_job_that_was_cut_off_is_done_all_the_same() -> Outcome {
    let server = server()?;
    let second = Matcher::command(CommandKind::Publish).topic("jobs").body("B");
    server.add_fault(Fault::when(Trigger::outbound_matching(second)).then(Action::drop_mid_frame(7)))?;
    server.expect(Matcher::command(CommandKind::Logon).client("^pricer")).times(2);
    server.expect(result("B")).times(1);
    for job in ["A", "B", "C"] {
        server.publish("jobs", job)?;
    }

    let pricer = Pricer::start(&server.uri("json"))?;
    server.wait_for_commands(&result("C"), 1, PATIENCE)?;
    pricer.stop()?;

    server.verify()?; // Or else: what was expected, what came, and in what it differs.
    nothing_is_left(&server)
}

/// A colleague takes a job and never finishes it. When the lease has run out, it is somebody else's turn.
fn a_job_of_a_worker_that_hangs_is_done_by_another() -> Outcome {
    let server = server()?;
    let colleague = Client::builder("pricer-2").server(server.uri("json")).connect()?;
    let mut jobs = colleague.subscribe("jobs").max_backlog(1).start()?;
    server.publish("jobs", "A")?;
    let _never_finished = jobs.next().ok_or("the subscription has ended")??;
    server.expect(result("A")).times(1);

    let pricer = Pricer::start(&server.uri("json"))?;
    server.advance(LEASE); // Nobody waits for 30 seconds.
    server.wait_for_commands(&result("A"), 1, PATIENCE)?;
    pricer.stop()?;

    server.verify()?;
    nothing_is_left(&server)
}

fn result(job: &str) -> Matcher {
    Matcher::command(CommandKind::Publish).topic("results").body(format!("priced {job}"))
}

fn nothing_is_left(server: &FakeServer) -> Outcome {
    let jobs = server.queue("jobs").ok_or("there is no queue")?;
    match (jobs.available.len(), jobs.leased.len()) {
        (0, 0) => Ok(()),
        (waiting, leased) => Err(format!("{waiting} jobs are still waiting, {leased} are leased").into()),
    }
}

fn main() -> Outcome {
    a_job_that_was_cut_off_is_done_all_the_same()?;
    println!("a connection broke in the middle of a job: the job was delivered again, and done");
    a_job_of_a_worker_that_hangs_is_done_by_another()?;
    println!("a worker hung until its lease had run out: another one did its job");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn a_job_that_was_cut_off_is_done_all_the_same() -> Outcome {
        super::a_job_that_was_cut_off_is_done_all_the_same()
    }

    #[test]
    fn a_job_of_a_worker_that_hangs_is_done_by_another() -> Outcome {
        super::a_job_of_a_worker_that_hangs_is_done_by_another()
    }
}
