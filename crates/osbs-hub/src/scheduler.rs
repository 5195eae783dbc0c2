//! Which host gets which task, and tasks that are taken back from hosts that keep silent (client-and-koji 5.5).
//!
//! The choice is a pure function. It is made at every check-in of a host, and from time to time for those that keep silent.

use crate::call_error::CallError;
use crate::hub::HubState;
use crate::rows::json_value;
use crate::states::TaskState;
use crate::{tagging, tasks};
use osbs_koji::Value;
use rusqlite::{Transaction, params};
use std::collections::{HashMap, HashSet};

const SECOND: i64 = 1_000_000;

/// After its last sign of life a host is not ready.
const READY_FOR: i64 = 180 * SECOND;

/// A task that was assigned and not opened is taken back.
const ASSIGNED_FOR: i64 = 300 * SECOND;

/// Open tasks of a host that keeps silent are taken back.
const SILENT_FOR: i64 = 900 * SECOND;

/// A host that softly refused a task is asked again.
const REFUSED_FOR: i64 = 900 * SECOND;

/// Tasks that are looked at in one turn: more would not find a host anyway.
const TASKS_A_TURN: i64 = 1000;

/// A task that waits for a host.
#[derive(Debug, Clone)]
struct FreeTask {
    id: i64,
    channel_id: i64,
    arch: String,
    method: String,
    weight: f64,
}

/// A host that may be given tasks.
#[derive(Debug, Clone, Default)]
struct Host {
    id: i64,
    arches: Vec<String>,
    channels: HashSet<i64>,
    /// Methods that it has handlers for; `None`: it has not said.
    methods: Option<HashSet<String>>,
    capacity: f64,
    load: f64,
    jobs: i64,
    max_jobs: Option<i64>,
    refused: HashSet<i64>,
}

impl Host {
    fn handles(&self, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    fn fits(&self, task: &FreeTask) -> bool {
        self.channels.contains(&task.channel_id)
            && (task.arch == "noarch" || self.arches.contains(&task.arch))
            && self.handles(&task.method)
            && !self.refused.contains(&task.id)
    }

    fn has_room(&self, task: &FreeTask) -> bool {
        // As a builder takes tasks while its load is below its capacity: the last one may go beyond it.
        self.load < self.capacity
            && self.load + task.weight <= self.capacity + 1.0
            && self.max_jobs.is_none_or(|most| self.jobs < most)
    }
}

/// Hands each task, in order, to the least loaded host that fits.
fn assign(free: &[FreeTask], hosts: &mut [Host]) -> Vec<(i64, i64)> {
    let mut assigned = Vec::new();
    for task in free {
        let fitting = hosts.iter_mut().filter(|host| host.fits(task) && host.has_room(task));
        let share = |host: &Host| host.load / host.capacity.max(f64::MIN_POSITIVE);
        if let Some(host) = fitting.min_by(|a, b| share(a).total_cmp(&share(b))) {
            host.load += task.weight;
            host.jobs += 1;
            assigned.push((task.id, host.id));
        }
    }
    assigned
}

/// One turn: what waited too long is taken back, what waits is assigned, and what no host will do is done here.
///
/// # Errors
/// The database failed.
pub(crate) fn turn(tx: &Transaction<'_>, now: i64) -> Result<(), CallError> {
    take_back(tx, now)?;
    let free = free_tasks(tx)?;
    if free.is_empty() {
        return Ok(());
    }
    let mut hosts = hosts(tx, now)?;
    tx.prepare_cached("DELETE FROM task_refusals WHERE soft AND at < ?")?.execute([now - REFUSED_FOR])?;
    for (task, host) in assign(&free, &mut hosts) {
        tx.prepare_cached("UPDATE task SET state = ?, host_id = ?, assign_time = ? WHERE id = ?")?.execute(params![
            TaskState::Assigned,
            host,
            now,
            task
        ])?;
    }
    for task in free.iter().filter(|task| task.method == tagging::METHOD) {
        if !hosts.iter().any(|host| host.fits(task)) {
            tagging::do_task(tx, now, task.id)?;
        }
    }
    Ok(())
}

/// Whether any host that is ready would take such a task, now or when it has room.
///
/// # Errors
/// The database failed.
pub(crate) fn is_awaited(tx: &Transaction<'_>, now: i64, task_id: i64) -> Result<bool, CallError> {
    let Some(task) = free_tasks(tx)?.into_iter().find(|task| task.id == task_id) else { return Ok(true) };
    Ok(hosts(tx, now)?.iter().any(|host| host.fits(&task)))
}

/// Whether a turn would do anything: without waiting for the writer.
///
/// # Errors
/// The database failed.
pub(crate) fn has_work(tx: &Transaction<'_>) -> Result<bool, CallError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM task WHERE state IN (0, 4))
               OR EXISTS (SELECT 1 FROM task WHERE state IN (0, 1, 4) AND host_id IS NOT NULL)
               OR EXISTS (SELECT 1 FROM host WHERE ready)";
    Ok(tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

fn take_back(tx: &Transaction<'_>, now: i64) -> Result<(), CallError> {
    tx.prepare_cached("UPDATE host SET ready = 0 WHERE ready AND coalesce(update_time, 0) < ?")?
        .execute([now - READY_FOR])?;
    let sql = "SELECT task.id FROM task JOIN host ON host.id = task.host_id
               WHERE (state = 4 AND coalesce(assign_time, 0) < ?) OR (state = 1 AND coalesce(update_time, 0) < ?)";
    let mut statement = tx.prepare_cached(sql)?;
    let late = statement.query_map([now - ASSIGNED_FOR, now - SILENT_FOR], |row| row.get(0))?;
    for id in late.collect::<Result<Vec<i64>, _>>()? {
        tasks::free(tx, id)?;
    }
    Ok(())
}

fn free_tasks(tx: &Transaction<'_>) -> Result<Vec<FreeTask>, CallError> {
    let sql = "SELECT id, channel_id, arch, method, weight FROM task WHERE state = 0 AND host_id IS NULL
               ORDER BY priority, create_time, id LIMIT ?";
    let mut statement = tx.prepare_cached(sql)?;
    let tasks = statement.query_map([TASKS_A_TURN], |row| {
        let (id, channel_id, arch, method, weight) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
        Ok(FreeTask { id, channel_id, arch, method, weight })
    })?;
    Ok(tasks.collect::<Result<_, _>>()?)
}

/// Hosts that are ready, with what they have to do already.
fn hosts(tx: &Transaction<'_>, now: i64) -> Result<Vec<Host>, CallError> {
    let sql = "SELECT host.id, coalesce(arches, ''), capacity, data, task_load FROM host
               JOIN host_config ON host_config.host_id = host.id AND revoke_event IS NULL
               WHERE enabled AND ready AND update_time >= ?";
    let mut statement = tx.prepare_cached(sql)?;
    let mut hosts = statement
        .query_map([now - READY_FOR], |row| {
            let data: Option<String> = row.get(3)?;
            let data = data.map_or(Value::Nil, |data| json_value(&data));
            let arches: String = row.get(1)?;
            Ok(Host {
                id: row.get(0)?,
                arches: arches.split_whitespace().map(str::to_owned).collect(),
                capacity: row.get(2)?,
                methods: data.get("methods").as_array().map(texts),
                max_jobs: data.get("maxjobs").as_int(),
                ..Host::default()
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let channels = pairs(tx, "SELECT host_id, channel_id FROM host_channels WHERE revoke_event IS NULL")?;
    let refused = pairs(tx, "SELECT host_id, task_id FROM task_refusals")?;
    let busy = busy(tx)?;
    for host in &mut hosts {
        host.channels = channels.get(&host.id).cloned().unwrap_or_default();
        host.refused = refused.get(&host.id).cloned().unwrap_or_default();
        (host.load, host.jobs) = busy.get(&host.id).copied().unwrap_or_default();
    }
    Ok(hosts)
}

/// Load and number of the tasks of each host. One that waits for its children weighs nothing.
fn busy(tx: &Transaction<'_>) -> Result<HashMap<i64, (f64, i64)>, CallError> {
    let sql = "SELECT host_id, total(CASE WHEN coalesce(waiting, 0) THEN 0.0 ELSE weight END), count(*)
               FROM task WHERE state IN (1, 4) AND host_id IS NOT NULL GROUP BY host_id";
    let mut statement = tx.prepare_cached(sql)?;
    let busy = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    Ok(busy.collect::<Result<_, _>>()?)
}

fn texts(values: &[Value]) -> HashSet<String> {
    values.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn pairs(tx: &Transaction<'_>, sql: &str) -> Result<HashMap<i64, HashSet<i64>>, CallError> {
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut pairs: HashMap<i64, HashSet<i64>> = HashMap::new();
    for row in rows {
        let (key, value) = row?;
        pairs.entry(key).or_default().insert(value);
    }
    Ok(pairs)
}

/// Goes on for as long as the hub: a turn whenever the settings say, if there is anything to do. Failures are logged.
pub(crate) async fn run(hub: std::sync::Arc<HubState>) {
    use crate::database::Access;
    let mut interval = tokio::time::interval(hub.settings.schedule_interval.max(std::time::Duration::from_millis(100)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let state = std::sync::Arc::clone(&hub);
        let done = tokio::task::spawn_blocking(move || {
            if state.database.transaction(Access::Read, has_work)? {
                state.database.transaction(Access::Write, |tx| turn(tx, state.now()))?;
            }
            Ok::<_, CallError>(())
        });
        if let Ok(Err(error)) = done.await {
            hub.log(format_args!("the scheduler failed: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: i64, capacity: f64) -> Host {
        Host { id, capacity, arches: vec!["x86_64".into()], channels: HashSet::from([1]), ..Host::default() }
    }

    fn tasks(count: i64) -> Vec<FreeTask> {
        let task =
            |id| FreeTask { id, channel_id: 1, arch: "noarch".into(), method: "buildContainer".into(), weight: 1.0 };
        (1..=count).map(task).collect()
    }

    fn check_choice(mut hosts: Vec<Host>, free: &[FreeTask], expected: &[(i64, i64)]) {
        assert_eq!(assign(free, &mut hosts), expected);
    }

    #[test]
    fn the_least_loaded_host_that_fits_gets_the_task() {
        check_choice(vec![host(7, 2.0), host(8, 2.0)], &tasks(5), &[(1, 7), (2, 8), (3, 7), (4, 8)]);
        check_choice(vec![Host { load: 1.5, ..host(7, 4.0) }, host(8, 2.0)], &tasks(1), &[(1, 8)]);
        check_choice(vec![Host { max_jobs: Some(1), ..host(7, 9.0) }], &tasks(3), &[(1, 7)]);
        check_choice(vec![host(7, 0.0)], &tasks(1), &[]);
    }

    #[test]
    fn a_host_gets_no_task_that_it_cannot_do() {
        let task = |change: fn(&mut FreeTask)| {
            let mut task = tasks(1).remove(0);
            change(&mut task);
            [task]
        };
        let unfit = |host: Host| check_choice(vec![host], &tasks(1), &[]);
        unfit(Host { channels: HashSet::from([2]), ..host(7, 2.0) });
        unfit(Host { refused: HashSet::from([1]), ..host(7, 2.0) });
        unfit(Host { methods: Some(HashSet::from(["tagBuild".into()])), ..host(7, 2.0) });
        check_choice(vec![host(7, 2.0)], &task(|task| task.arch = "s390x".into()), &[]);
        check_choice(vec![host(7, 2.0)], &task(|task| task.arch = "x86_64".into()), &[(1, 7)]);
        let knows = HashSet::from(["buildContainer".into()]);
        check_choice(vec![Host { methods: Some(knows), ..host(7, 2.0) }], &tasks(1), &[(1, 7)]);
    }
}
