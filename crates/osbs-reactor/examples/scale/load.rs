//! What a day asks of a site: who wants which image when, and how long each part takes. The same seed gives the same day.
//! Knows nothing of clusters.

use std::time::Duration;

/// The platforms, the most wanted first.
pub const PLATFORMS: [&str; 4] = ["x86_64", "aarch64", "ppc64le", "s390x"];
/// How long most worker builds take: the median of a lognormal distribution, and its width (95 % are below 3.7 medians).
const WORK: (Duration, f64) = (Duration::from_mins(6), 0.8);
/// Builds that fail for reasons of their own.
const FAILS: f64 = 0.03;

/// Numbers that look random (SplitMix64).
pub struct Random(u64);

impl Random {
    /// Always the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }

    /// Which of these weights was drawn.
    fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        let drawn = weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        drawn.unwrap_or(weights.len() - 1)
    }

    fn lognormal(&mut self, median: Duration, sigma: f64) -> Duration {
        let (a, b) = (1.0 - self.unit(), self.unit());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        median.mul_f64((normal * sigma).exp())
    }
}

/// One platform of an image.
#[derive(Clone, Debug)]
pub struct Work {
    pub platform: &'static str,
    /// On a cluster of usual speed.
    pub takes: Duration,
    pub fails: bool,
}

/// One image to be built.
#[derive(Clone, Debug)]
pub struct Request {
    /// Since midnight.
    pub at: Duration,
    pub user: String,
    /// `None`: a scratch build, which waits for no other.
    pub build_config: Option<String>,
    pub work: Vec<Work>,
    /// The orchestrator's own part before and after the worker builds.
    pub prepare: Duration,
    pub publish: Duration,
}

/// What is asked for within a day. Shares of the builds, and who they belong to:
///
/// | share | user | when |
/// |---|---|---|
/// | 15 % | `rebuild`, every image once | at 14:00, within five minutes |
/// | 10 % | `nightly` | at 01:00, within ten minutes |
/// | 30 % | `ci` | all day, twice as much in office hours |
/// | 45 % | `dev01` to `dev40`, the first asks for about forty times as much as the last | office hours, peaks at 10 and 15 |
pub struct Day {
    pub builds: usize,
    pub seed: u64,
    /// How many hours the day has: 24, or fewer for a quick look, in which everything comes sooner.
    pub hours: f64,
}

const OFFICE: [f64; 24] = [
    0.2, 0.2, 0.2, 0.2, 0.2, 0.3, 0.6, 1.5, 4.0, 7.0, 8.0, 7.0, 4.5, 5.5, 7.5, 8.0, 6.5, 4.0, 2.0, 1.2, 0.8, 0.5, 0.3,
    0.2,
];

impl Day {
    /// The day's requests, in the order of time.
    pub fn requests(&self) -> Vec<Request> {
        let mut random = Random::new(self.seed);
        let mut requests: Vec<_> = (0..self.builds).map(|index| self.request(index, &mut random)).collect();
        requests.sort_by_key(|request| request.at);
        requests
    }

    fn request(&self, index: usize, random: &mut Random) -> Request {
        let share = index as f64 / self.builds as f64;
        let (user, hours) = if share < 0.15 {
            ("rebuild".to_owned(), 14.0 + random.unit() / 12.0)
        } else if share < 0.25 {
            ("nightly".to_owned(), 1.0 + random.unit() / 6.0)
        } else if share < 0.55 {
            ("ci".to_owned(), hour(random, |office| 2.5 + office / 2.5))
        } else {
            let appetite: Vec<_> = (1..=40).map(|rank| 1.0 / f64::from(rank)).collect();
            (format!("dev{:02}", random.weighted(&appetite) + 1), hour(random, |office| office))
        };
        let build_config = match user.as_str() {
            "rebuild" => Some(format!("image{index:04}")),
            "nightly" => Some(format!("night{index:04}")),
            _ if random.unit() < 0.4 => None,
            _ => Some(format!("image{:04}", random.below(2000))),
        };
        Request {
            at: Duration::from_secs_f64(hours * 3600.0 * self.hours / 24.0),
            user,
            build_config,
            work: work(random),
            prepare: random.lognormal(Duration::from_secs(30), 0.4),
            publish: random.lognormal(Duration::from_secs(30), 0.4),
        }
    }
}

fn hour(random: &mut Random, weight: impl Fn(f64) -> f64) -> f64 {
    let weights: Vec<_> = OFFICE.into_iter().map(weight).collect();
    random.weighted(&weights) as f64 + random.unit()
}

/// Big images are big on every platform.
fn work(random: &mut Random) -> Vec<Work> {
    let sets: [&[&str]; 4] = [&PLATFORMS[..1], &PLATFORMS[..2], &["x86_64", "ppc64le", "s390x"], &PLATFORMS];
    let image = random.lognormal(WORK.0, WORK.1);
    let fails = random.unit() < FAILS;
    sets[random.weighted(&[0.35, 0.25, 0.15, 0.25])]
        .iter()
        .map(|platform| Work { platform, takes: image.mul_f64(0.8 + 0.4 * random.unit()), fails })
        .collect()
}
