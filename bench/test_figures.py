"""Tests of the arithmetic and of the tables: `bench/run.sh --self-test`."""

import json
import unittest

import figures

LIMITS = {
    "sha256_mb_s": 1000.0,
    "compressor_mb_s": 200.0,
    "gunzip_mb_s": 100.0,
    "write_mb_s": 1000.0,
    "put_mb_s": 500.0,
    "request_s": 0.001,
    "container_s": 0.02,
}
SIZES = {
    "work_s": 0.5,
    "walk_s": 0.1,
    "containers": 2,
    "parent_layers": 4,
    "parent_bytes": 200e6,
    "layer_bytes": 1000e6,
    "packed_bytes": 500e6,
    "archive_bytes": 700e6,
}


class Floor(unittest.TestCase):
    def check(self, kind, expected, **changed):
        limits = LIMITS | {key: value for key, value in changed.items() if key in LIMITS}
        sizes = SIZES | {key: value for key, value in changed.items() if key in SIZES}
        found = figures.floor(kind, sizes, limits, cores=2)
        expected = expected | {"total": sum(expected.values())}
        self.assertEqual(found.keys(), expected.keys())
        for part, value in expected.items():
            self.assertAlmostEqual(found[part], value, msg=part)

    def test_all_cores_are_busy(self):
        # Compression 5 s on both cores; digests 1 + 0.5, the registry 1, the walk 0.1 and the archive 0.7 share them.
        layer = 5 + (1 + 0.5 + 1 + 0.1 + 0.7) / 2
        self.check("normal", {"requests": 0.01, "work": 0.5, "containers": 0.04, "layer": layer})

    def test_one_stream_is_the_limit(self):
        self.check("normal", {"requests": 0.01, "work": 0.5, "containers": 0.04, "layer": 100}, put_mb_s=5.0)

    def test_the_parent_is_pulled_by_layers_on_all_cores(self):
        layer = 5 + 3.3 / 2
        parts = {"requests": 0.01, "pull": 1.0, "work": 0.5, "containers": 0.04, "layer": layer}
        self.check("first", parts)
        self.check("first", parts | {"requests": 0.007, "pull": 2.0}, parent_layers=1)

    def test_nothing_is_built_when_nothing_changed(self):
        self.check("unchanged", {"requests": 0.01, "archive": 0.7})


def row(**changed):
    runs = {
        "osbs": [{"seconds": 9.0, "peak_mb": 30.0}, {"seconds": 7.0, "peak_mb": 40.0}, {"seconds": 8.0, "peak_mb": 20.0}],
        "buildah": [{"seconds": 79.0, "peak_mb": 300.0}],
        "podman": [{"seconds": 16.0, "peak_mb": 30.0}, {"seconds": 24.0, "peak_mb": 30.0}],
    }
    return {"name": "large", "kind": "normal", "runs": runs, "failed": {}, "sizes": SIZES} | changed


class Summary(unittest.TestCase):
    def test_medians_ratios_and_peak(self):
        found = figures.summary(row(), LIMITS, cores=2)
        self.assertEqual(found["median_s"], {"osbs": 8.0, "buildah": 79.0, "podman": 20.0})
        self.assertEqual(found["ratio"], {"buildah": 79.0 / 8.0, "podman": 2.5})
        self.assertEqual(found["peak_mb"], 40.0)
        self.assertEqual(found["missed"], ["not 10 times buildah"])

    def test_a_tool_that_failed_has_no_ratio(self):
        runs = row()["runs"]
        del runs["buildah"]
        found = figures.summary(row(runs=runs, failed={"buildah": "no"}), LIMITS, cores=2)
        self.assertEqual(found["ratio"], {"podman": 2.5})

    def test_we_failed(self):
        found = figures.summary(row(runs={"buildah": [{"seconds": 1.0, "peak_mb": 1.0}]}), LIMITS, cores=2)
        self.assertEqual(found["missed"], ["osbs did not end it"])
        self.assertIsNone(found["floor_s"])

    def test_missed_targets(self):
        cases = [
            ("small", {"buildah": 2.0}, 1.9, 99.0, []),
            ("small", {"buildah": 2.0, "docker": 0.9}, 1.0, 10.0, ["behind docker"]),
            ("large", {"buildah": 10.0}, 2.0, 10.0, []),
            ("files", {"buildah": 9.9}, 1.0, 10.0, ["not 10 times buildah"]),
            ("files", {"buildah": 99.0}, 2.1, 100.0, ["over twice the floor", "100 MB of memory or more"]),
            ("files", {"podman": 9.9}, 1.0, 10.0, []),
        ]
        for name, ratios, times, peak, expected in cases:
            with self.subTest(name=name, ratios=ratios):
                self.assertEqual(figures.missed(name, ratios, times, peak), expected)


class Tables(unittest.TestCase):
    def results(self, **changed):
        tools = {key: {"version": "1"} for key in ["osbs", "buildah", "podman", "docker"]}
        return {"tools": tools, "rows": [figures.summary(row(**changed), LIMITS, cores=2)]}

    def test_one_line_a_row(self):
        made = figures.race_table(self.results(failed={"docker": "it hung"})).splitlines()
        self.assertEqual(len(made), 3)
        cells = [cell.strip() for cell in made[2].strip("|").split("|")]
        theirs = ["79.0 s (9.9)", "20.0 s (2.5)", "failed"]
        expected = ["large", "8.00 s", *theirs, "7.20 s", "1.1", "40 MB", "not 10 times buildah"]
        self.assertEqual(cells, expected)
        self.assertEqual(made[0].count("|"), made[2].count("|"))

    def test_a_row_without_us(self):
        made = figures.race_table(self.results(runs={"buildah": [{"seconds": 1.0, "peak_mb": 1.0}]}))
        self.assertIn("| large | failed | 1.00 s |", made)

    def test_only_what_is_between_the_marks_changes(self):
        text = f"before\n{figures.BEGIN}\nold\n{figures.END}\nafter\n"
        made = figures.put_between(text, "new")
        self.assertEqual(made, f"before\n{figures.BEGIN}\nnew\n{figures.END}\nafter\n")
        self.assertEqual(figures.put_between(made, "new"), made)

    def test_profiles_stand_side_by_side(self):
        large = {"seconds": 6.0, "busy_s": 10.0, "groups": {"compression": 60.0, "SHA-256": 20.0}}
        small = {"seconds": 0.5, "busy_s": 0.5, "groups": {"SHA-256": 50.0}}
        made = figures.profile_table({"profiles": {"large": large, "small": small}}).splitlines()
        self.assertIn("| compression | 6.00 s |  |", made)
        self.assertIn("| SHA-256 | 2.00 s | 0.25 s |", made)
        self.assertIn("| took | 6.00 s | 0.50 s |", made)
        self.assertEqual(figures.profile_table({}), "")

    def test_the_file_is_the_same_data_on_fewer_lines(self):
        data = self.results() | {"limits": LIMITS}
        text = figures.compact(data)
        self.assertEqual(json.loads(text), data)
        self.assertLess(text.count("\n"), json.dumps(data, indent=1).count("\n") / 2)

    def test_numbers_are_short(self):
        data = {"a": [1.23456789, {"b": 12345.678}], "c": 7, "d": None}
        self.assertEqual(figures.rounded(data), {"a": [1.235, {"b": 12350.0}], "c": 7, "d": None})

    def test_seconds_and_times_are_short(self):
        cases = [(0.123, "0.12 s"), (9.99, "9.99 s"), (12.34, "12.3 s"), (123.4, "123 s"), (None, "")]
        self.assertEqual([figures.seconds(value) for value, _ in cases], [text for _, text in cases])
        self.assertEqual([figures.times(9.94), figures.times(31.7)], ["9.9", "32"])


if __name__ == "__main__":
    unittest.main()
