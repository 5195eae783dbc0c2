#!/usr/bin/env python3
"""Tables and plots of docs/scale.md, made of what the simulation prints: no figure is copied by hand.

usage: scale.py FIGURES [MORE] [--write]    FIGURES: output of `cargo run --release -p osbs-reactor --example scale`;
                                            MORE: the same with more slots (`--example scale 150`)
                                            prints the tables; with --write puts them into docs/scale.md, and the plots
                                            beside it
"""

import json
import math
import pathlib
import sys

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
BEGIN, END = "<!-- figures: made by bench/scale.py -->", "<!-- end of figures -->"
RULES = {"osbs": "osbs", "upstream": "peer"}
COLOURS = {"osbs": "#0b62a4", "upstream": "#c8511b"}
WIDTH, LEFT, RIGHT = 860, 70, 20
STEPS = 144


def span(seconds):
    """A duration for people."""
    if seconds < 0.5:
        return "0"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def waits(rules, part, first):
    """Median, 95 % and maximum of both rules, one row for each key of `part`."""
    head = [first, "builds"] + [f"{what}, {name}" for what in ("median", "95 %", "longest") for name in RULES.values()]
    rows = []
    for key, ours in rules["osbs"][part].items():
        if not ours["count"]:
            continue
        theirs = rules["upstream"][part][key]
        cells = [span(of[what]) for what in ("median", "p95", "max") for of in (ours, theirs)]
        rows.append([key, f"{ours['count']:,}", *cells])
    return table(head, rows)


def clusters(rules):
    head = ["cluster", "platforms", "slots", "builds", "busy 9 to 18 h", "peer's", "most at once", ""]
    rows = []
    for ours, theirs in zip(rules["osbs"]["clusters"], rules["upstream"]["clusters"]):
        notes = [f"{ours['slowness']} times as slow"] if ours["slowness"] != 1 else []
        notes += [f"away {ours['away'][0]:g} to {ours['away'][1]:g} h"] if ours["away"] else []
        rows.append([ours["name"], ", ".join(ours["platforms"]), ours["slots"], f"{ours['builds']:,}",
                     f"{ours['busy']:.0%}", f"{theirs['busy']:.0%}", ours["most_at_once"], ", ".join(notes)])
    return table(head, rows)


def requests(rules):
    rows = []
    ours, theirs = (rules[rule]["requests"] for rule in RULES)
    number = lambda of, key: f"{of[key]:,.1f}"
    for key, what in [("per_worker_build", "a worker build"), ("mean_per_second", "a second, mean of the day"),
                      ("busiest_minute_per_second", "a second, in the busiest minute"),
                      ("busiest_second", "in the busiest second")]:
        rows.append([what, number(ours, key), number(theirs, key)])
    builds = rules["osbs"]["worker_builds"]
    for kind in sorted(ours["by_kind"].keys() | theirs["by_kind"].keys()):
        each = [f"{of['by_kind'].get(kind, 0) / builds:.2f}" for of in (ours, theirs)]
        rows.append([f"`{kind}` a worker build", *each])
    return table(["requests", *RULES.values()], rows)


def balance(rules):
    """Standard deviation of how busy the clusters of a platform are, in points; clusters of several platforms and those
    that were away are left out."""
    rows = []
    for platform in rules["osbs"]["platforms"]:
        cells = []
        for rule in RULES:
            busy = [c["busy"] for c in rules[rule]["clusters"] if c["platforms"] == [platform] and not c["away"]]
            mean = sum(busy) / len(busy)
            deviation = math.sqrt(sum((value - mean) ** 2 for value in busy) / len(busy))
            cells.append(f"{min(busy):.0%} to {max(busy):.0%} ({100 * deviation:.1f})")
        rows.append([platform, *cells])
    return table(["platform", *RULES.values()], rows)


def sizes(runs):
    """What more slots bring."""
    users = list(runs[0]["rules"]["osbs"]["users"])
    head = ["slots", *(f"{user}, 95 %" for user in users), "not built"]
    rows = []
    for run in runs:
        ours = run["rules"]["osbs"]
        slots = sum(cluster["slots"] for cluster in ours["clusters"])
        rows.append([f"{slots}", *(span(ours["users"][user]["p95"]) for user in users), ours["not_served"]])
    return table(head, rows)


def render(figures, more):
    rules = figures["rules"]
    ours, theirs = (rules[rule] for rule in RULES)
    return "\n\n".join([
        f"{ours['images']:,} images, {ours['worker_builds']:,} worker builds; {figures['orchestrators']} orchestrator builds at"
        f" once; {figures['errors']:.0%} of the requests fail.\n\nImages that were not built though nothing was wrong with"
        f" them: osbs {ours['not_served']:,}, peer {theirs['not_served']:,}.",
        "Waiting of an image, by who asked for it: for the orchestrator's turn, then for the turn of the slowest worker.",
        waits(rules, "users", "user"),
        "Of these, what was asked for between 14 and 18 h, while the mass rebuild goes on:",
        waits(rules, "users_in_rebuild", "user"),
        "Waiting of a worker build, by platform:",
        waits(rules, "platforms", "platform"),
        "![Waiting time over the day](scale-waiting.svg)",
        "The same day with other numbers of slots, by our rule:",
        sizes([figures, *more]),
        "How busy the clusters are between 9 and 18 h, least to most (standard deviation in points), without those that were"
        " away and those of two platforms:",
        balance(rules),
        "![Clusters over the day](scale-clusters.svg)",
        clusters(rules),
        "Requests to the worker clusters:",
        requests(rules),
        "![Requests over the day](scale-requests.svg)",
    ])


class Plot:
    """One picture."""

    def __init__(self, height, title):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">',
            f"<title>{title}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        ]

    def text(self, x, y, text, anchor="start", colour="#333333", weight="normal"):
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{text}</text>')

    def line(self, points, colour, width=1.5, dash=""):
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>')

    def rect(self, x, y, width, height, colour, extra=""):
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"{extra}/>')

    def hours(self, top, bottom):
        for hour in range(0, 25, 3):
            self.line([(across(hour), top), (across(hour), bottom)], "#e4e4e4", 1)
            self.text(across(hour), bottom + 16, f"{hour} h", "middle")

    def legend(self, y, entries):
        x = LEFT
        for text, colour, dash in entries:
            self.line([(x, y - 4), (x + 24, y - 4)], colour, 2, dash)
            self.text(x + 30, y, text)
            x += 44 + 7.2 * len(text)

    def save(self, name):
        (DOCS / name).write_text("\n".join([*self.parts, "</svg>"]) + "\n")


def across(hour):
    return LEFT + (WIDTH - LEFT - RIGHT) * hour / 24


def waiting(rules):
    plot = Plot(560, "Waiting time of images by the moment of the request")
    marks = [1, 10, 60, 600, 3600, 14400]
    top_of = {"developers": 60, "others": 320}
    tall = 180
    highest = math.log10(25000)
    up = lambda top, seconds: top + tall - tall * math.log10(max(seconds, 1)) / highest
    plot.legend(22, [(f"{name}, 95 %", COLOURS[rule], "") for rule, name in RULES.items()]
                + [(f"{name}, median", COLOURS[rule], "3 3") for rule, name in RULES.items()])
    titles = {"developers": "developers", "others": "ci, the nightly batch and the mass rebuild"}
    for part, top in top_of.items():
        plot.text(LEFT, top - 8, f"Waiting time of {titles[part]}, by the moment of the request", weight="bold")
        plot.hours(top, top + tall)
        for mark in marks:
            plot.line([(LEFT, up(top, mark)), (WIDTH - RIGHT, up(top, mark))], "#e4e4e4", 1)
            plot.text(LEFT - 8, up(top, mark) + 4, span(mark), "end")
        for column, width, dash in [(1, 1, "3 3"), (2, 2, "")]:
            for rule in reversed(RULES):
                points = [(across(step[0] + 1 / 12), up(top, step[column])) for step in rules[rule]["day"][part]]
                plot.line(points, COLOURS[rule], width, dash)
    plot.save("scale-waiting.svg")


def shade(share):
    """White to dark blue."""
    return "#" + "".join(f"{round(255 + (end - 255) * min(share, 1)):02x}" for end in (8, 69, 130))


def busy(rules):
    rows = rules["osbs"]["clusters"]
    tall, top = 17, 56
    plot = Plot(top + tall * len(rows) + 50, "Slots in use, by cluster")
    plot.text(LEFT, 20, "Slots in use by cluster, every ten minutes", weight="bold")
    for index, share in enumerate([0, 0.25, 0.5, 0.75, 1]):
        plot.rect(LEFT + 90 * index, 28, 14, 14, shade(share), ' stroke="#999999"')
        plot.text(LEFT + 90 * index + 20, 40, f"{share:.0%}")
    plot.rect(LEFT + 450, 28, 14, 14, "none", ' stroke="#c8511b" stroke-width="2"')
    plot.text(LEFT + 470, 40, "its API does not answer")
    wide = (WIDTH - LEFT - RIGHT) / STEPS
    for number, cluster in enumerate(rows):
        y = top + tall * number
        plot.text(LEFT - 8, y + 12, f"{cluster['name']} ({cluster['slots']})", "end")
        shares = [round(share * 20) / 20 for share in cluster["steps"]]
        start = 0
        for step in range(1, STEPS + 1):
            # Neighbours of one shade are one rectangle.
            if step == STEPS or shares[step] != shares[start]:
                if shares[start]:
                    plot.rect(LEFT + wide * start, y, wide * (step - start) + 0.2, tall - 2, shade(shares[start]))
                start = step
        if cluster["away"]:
            start, end = (across(hour) for hour in cluster["away"])
            plot.rect(start, y - 1, end - start, tall, "none", ' stroke="#c8511b" stroke-width="2"')
    bottom = top + tall * len(rows)
    for hour in range(0, 25, 3):
        plot.text(across(hour), bottom + 16, f"{hour} h", "middle")
    plot.save("scale-clusters.svg")


def load(rules):
    top, tall = 60, 200
    plot = Plot(top + tall + 40, "Requests to the worker clusters")
    plot.legend(22, [(name, COLOURS[rule], "") for rule, name in RULES.items()])
    plot.text(LEFT, top - 10, "Requests a second to all twenty worker clusters, mean of ten minutes", weight="bold")
    days = {rule: rules[rule]["requests"]["by_ten_minutes"][:STEPS] for rule in RULES}
    highest = max(max(day) for day in days.values()) * 1.1
    plot.hours(top, top + tall)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if highest / step < 8)
    for mark in range(0, math.ceil(highest), step):
        y = top + tall - tall * mark / highest
        plot.line([(LEFT, y), (WIDTH - RIGHT, y)], "#e4e4e4", 1)
        plot.text(LEFT - 8, y + 4, str(mark), "end")
    for rule in reversed(RULES):
        points = [(across((index + 0.5) / 6), top + tall - tall * value / highest)
                  for index, value in enumerate(days[rule])]
        plot.line(points, COLOURS[rule], 2)
    plot.save("scale-requests.svg")


def main():
    files = [argument for argument in sys.argv[1:] if argument != "--write"]
    if not files:
        sys.exit(__doc__)
    figures, *more = (json.loads(pathlib.Path(name).read_text()) for name in files)
    made = render(figures, more)
    if "--write" not in sys.argv[1:]:
        print(made)
        return
    for draw in (waiting, busy, load):
        draw(figures["rules"])
    page = DOCS / "scale.md"
    text = page.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    page.write_text(f"{text[:start]}\n{made}\n{text[end:]}")


if __name__ == "__main__":
    main()
