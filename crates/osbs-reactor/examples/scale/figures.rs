//! What a played day comes to: waiting times, balance, requests. Pure arithmetic.

use crate::load::PLATFORMS;
use crate::simulation::{Image, Played};
use crate::site::Spec;
use osbs_cluster::Build;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Width of a step of the plots.
const STEP: f64 = 600.0;
/// When clusters are compared: the hours with most to do.
const BUSY: (f64, f64) = (9.0 * 3600.0, 18.0 * 3600.0);

/// While the mass rebuild has everybody wait.
const REBUILD: (f64, f64) = (14.0 * 3600.0, 18.0 * 3600.0);

/// The value below which that share of the sorted values lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted.get(((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Number, median, 95 %, maximum, in seconds.
pub fn waits(values: impl IntoIterator<Item = f64>) -> Value {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    json!({
        "count": values.len(),
        "median": quantile(&values, 0.5),
        "p95": quantile(&values, 0.95),
        "max": values.last().copied().unwrap_or(0.0),
    })
}

/// Who is told apart.
fn kind_of(user: &str) -> &str {
    match user {
        "dev01" | "dev02" | "dev03" => "three busiest developers",
        user if user.starts_with("dev") => "37 other developers",
        user => user,
    }
}

/// Most builds of a cluster at the same moment.
pub fn most_at_once(spans: &[(f64, f64)]) -> usize {
    let mut turns: Vec<_> = spans.iter().flat_map(|(from, to)| [(*from, 1), (*to, -1)]).collect();
    // An end makes room for the start of the same moment.
    turns.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut now = 0_i64;
    turns
        .iter()
        .map(|(_, change)| {
            now += change;
            now
        })
        .max()
        .unwrap_or(0) as usize
}

/// Start and end of the builds that ran.
pub fn ran(builds: &[Build]) -> Vec<(f64, f64)> {
    let time = crate::site::World::time_of;
    builds.iter().filter_map(|build| Some((time(build.started?), time(build.finished?)))).collect()
}

/// Share of the slots that were taken between two moments.
fn utilisation(spans: &[(f64, f64)], slots: u32, (from, to): (f64, f64)) -> f64 {
    let busy: f64 = spans.iter().map(|(start, end)| (end.min(to) - start.max(from)).max(0.0)).sum();
    busy / (f64::from(slots) * (to - from))
}

/// Everything, as JSON.
pub fn figures(played: &Played, specs: &[Spec]) -> Value {
    let of = |keep: &dyn Fn(&Image) -> bool| waits(played.images.iter().filter(|image| keep(image)).map(Image::waited));
    let by_user = |(from, to): (f64, f64)| -> Map<String, Value> {
        let kinds: BTreeSet<_> = played.images.iter().map(|image| kind_of(&image.user)).collect();
        let within = |image: &Image| (from..to).contains(&image.requested);
        kinds
            .into_iter()
            .map(|kind| (kind.to_owned(), of(&|image| kind_of(&image.user) == kind && within(image))))
            .collect()
    };
    let pieces = || played.images.iter().flat_map(|image| &image.pieces);
    let platforms: Map<_, _> = PLATFORMS
        .iter()
        .map(|platform| {
            let of = pieces().filter(|piece| piece.platform == *platform);
            ((*platform).to_owned(), waits(of.filter_map(|piece| Some(piece.started? - piece.asked))))
        })
        .collect();
    json!({
        "images": played.images.len(),
        "worker_builds": pieces().count(),
        "not_served": played.images.iter().filter(|image| !image.served).count(),
        "orchestrators_at_once": most_at_once(&ran(&played.orchestrators)),
        "wait": of(&|_| true),
        "wait_orchestrator": waits(played.images.iter().map(|image| image.started - image.requested)),
        "users": by_user((0.0, f64::INFINITY)),
        "users_in_rebuild": by_user(REBUILD),
        "platforms": platforms,
        "day": day(&played.images),
        "clusters": clusters(played, specs),
        "requests": requests(played),
    })
}

/// Median and 95 % of the waiting time by the moment of the request: of developers, and of mass builds.
fn day(images: &[Image]) -> Value {
    let mut steps: BTreeMap<(bool, u64), Vec<f64>> = BTreeMap::new();
    for image in images {
        let developer = image.user.starts_with("dev");
        steps.entry((developer, (image.requested / STEP) as u64)).or_default().push(image.waited());
    }
    let line = |developer: bool| -> Vec<Value> {
        let own = steps.iter().filter(|((kind, _), _)| *kind == developer);
        own.map(|((_, step), values)| {
            let mut values = values.clone();
            values.sort_by(f64::total_cmp);
            json!([*step as f64 * STEP / 3600.0, quantile(&values, 0.5), quantile(&values, 0.95)])
        })
        .collect()
    };
    json!({"developers": line(true), "others": line(false)})
}

fn clusters(played: &Played, specs: &[Spec]) -> Vec<Value> {
    let cluster = |spec: &Spec| {
        let spans = ran(&played.builds[&spec.name]);
        let slots = spec.max_concurrent_builds;
        let steps = (0..144).map(|step| {
            let from = f64::from(step) * STEP;
            (utilisation(&spans, slots, (from, from + STEP)) * 1000.0).round() / 1000.0
        });
        json!({
            "name": spec.name,
            "platforms": spec.platforms,
            "slots": slots,
            "slowness": spec.slowness,
            "away": spec.away.map(|(from, to)| [from.as_secs_f64() / 3600.0, to.as_secs_f64() / 3600.0]),
            "builds": spans.len(),
            "most_at_once": most_at_once(&spans),
            "busy": utilisation(&spans, slots, BUSY),
            "steps": steps.collect::<Vec<_>>(),
        })
    };
    specs.iter().map(cluster).collect()
}

fn requests(played: &Played) -> Value {
    let seconds = played.world.by_second.lock().expect("nobody panicked").clone();
    let by_kind = played.world.by_kind.lock().expect("nobody panicked").clone();
    let all = played.world.requests();
    let minutes: Vec<_> = seconds.chunks(60).map(|minute| minute.iter().sum::<u32>()).collect();
    let day = &seconds[..seconds.len().min(86_400)];
    let builds: usize = played.images.iter().map(|image| image.pieces.len()).sum();
    json!({
        "all": all,
        "by_kind": by_kind,
        "per_worker_build": all as f64 / builds as f64,
        "mean_per_second": day.iter().map(|count| f64::from(*count)).sum::<f64>() / day.len() as f64,
        "busiest_second": seconds.iter().max(),
        "busiest_minute_per_second": minutes.iter().max().map(|count| f64::from(*count) / 60.0),
        "by_ten_minutes": seconds.chunks(600).map(|step| f64::from(step.iter().sum::<u32>()) / 600.0).collect::<Vec<_>>(),
    })
}
