//! Ten thousand images a day on twenty worker clusters and four platforms, played on virtual time: prints the figures as JSON.
//!
//! usage: scale [PERCENT]   of the slots that `site.rs` gives the clusters; 100 unless said
//!
//! `make scale` runs it and makes `docs/scale.md` and its plots of what it prints. `tests/scale.rs` plays a small day.
//! What is played is who asks and how long things take; cluster choice and queues are the code that builds run with.

#![allow(missing_docs, reason = "a program")]

mod figures;
mod load;
mod simulation;
mod site;

use simulation::{Rule, play};
use std::io::Write;

/// Orchestrator builds that run at once.
const ORCHESTRATORS: u32 = 600;
/// Share of requests that fail.
const ERRORS: f64 = 0.01;

fn main() -> std::io::Result<()> {
    let percent: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let mut specs = site::twenty_clusters();
    for spec in &mut specs {
        spec.max_concurrent_builds = (spec.max_concurrent_builds * percent).div_ceil(100);
    }
    let play = |name: &'static str, rule| -> std::io::Result<(String, serde_json::Value)> {
        let day = load::Day { builds: 10_000, seed: 1, hours: 24.0 };
        let begun = std::time::Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
        let played = runtime.block_on(play(rule, specs.clone(), ORCHESTRATORS, ERRORS, day.requests()));
        writeln!(std::io::stderr(), "{name}: played in {:.0} s", begun.elapsed().as_secs_f64())?;
        Ok((name.to_owned(), figures::figures(&played, &specs)))
    };
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| play("upstream", Rule::Upstream));
        (play("osbs", Rule::Osbs), theirs.join())
    });
    let theirs = theirs.map_err(|_| std::io::Error::other("the simulation panicked"))?;
    let rules: serde_json::Map<_, _> = [ours?, theirs?].into_iter().collect();
    let all = serde_json::json!({"orchestrators": ORCHESTRATORS, "errors": ERRORS, "percent": percent, "rules": rules});
    writeln!(std::io::stdout(), "{all}")
}
