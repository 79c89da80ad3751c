"""The page of an experiment: what table.py --html puts into page.py's parts."""
import math
import os
from dataclasses import dataclass

import page
import rows
import rundir
import runpage
from plain import duration

CAPTIONS = {
    "error": "Final {metric} over {columns}, a colour for each row of the table: mean and sample standard deviation over {seeds}. Where the "
             "error bars of two rows overlap, the difference may be chance.",
    "bars": "Final {metric} of each row of the table{place}, from zero, and enlarged: diamonds are means with the sample standard deviation, "
            "circles single runs. Where the circles of two rows overlap, the difference may be chance.",
    "alpha": "Tail exponent α of each layer{place} before training (open circles) and after it (full dots): mean over the runs, and their "
             "sample standard deviation. Layers with a large α are the less trained ones; balancing gives them the higher rate."}
CHOICES = ("Mean ± sample standard deviation of every choice of hyperparameters. The best has the least mean of those with the most runs. "
           "A dash: not part of the experiment.")
COST = ("Mean over the runs of a cell, in seconds of the whole training and in % of it. (analysis): rule none rebalances nothing, but "
        "analyses its layers for layers.csv.")


@dataclass
class Picture:
    kind: str   # of CAPTIONS
    place: str  # the column of the table, in words; empty for all of it
    path: str


def experiment_page(path, experiment, texts, pictures, problems):
    """HTML. `path`: the experiment's file; `texts`: table.Texts; `problems`: lines about what could not be drawn."""
    states = {row.number: rows.state_of(row) for row in experiment.rows}
    finished = [row for row in experiment.rows if states[row.number] == "finished"]
    others = [row for row in experiment.rows if states[row.number] != "finished"]
    abouts = {row.number: runpage.optional(rundir.read_about, row.directory) for row in finished}
    progress = tell_progress(experiment, states, finished)
    incomplete = [f"Incomplete: {progress}. What is here may change; a cell that lacks runs says how many it has, as in (2 of 3)."]
    is_complete = not others and not texts.missing
    sections = [
        page.section("Experiment", *map(page.warning, ([] if is_complete else incomplete) + texts.doubts + problems),
                     page.facts(facts(path, experiment, finished, list(abouts.values())))),
        page.section("Results", page.table(texts.results[0], indented(texts.results[1:]), " ".join(texts.explanation)),
                     *([page.details("cells that lack runs", "\n".join(texts.missing))] if texts.missing else [])),
        page.section("Best hyperparameters", *([page.table(texts.choices[0], texts.choices[1:], CHOICES)] if texts.choices else [])),
        page.section("Figures", *(page.image(picture.path, caption(experiment.table, picture)) for picture in pictures)),
        page.section("Cost of rebalancing", *cost(texts)),
        page.section("Rows", *list_rows(experiment, states, others, finished, abouts)),
        page.section("Files", *files(path, experiment))]
    return page.page(f"Experiment {experiment.name}", sections, ("" if is_complete else "incomplete: ") + progress)


def tell_progress(experiment, states, finished):
    metric = experiment.table.metric
    undefined = sum(not is_defined(rows.metric_of(row, experiment.table)) for row in finished)
    told = [f"{len(finished)} of {len(states)} rows finished", rows.count_unfinished(states.values()),
            f"{undefined} finished without a {metric}" if undefined else ""]
    return ", ".join(part for part in told if part)


def is_defined(value):
    return value is not None and math.isfinite(value)


def facts(path, experiment, finished, abouts):
    axes = "; ".join(f"{rows.short(axis)}: {', '.join(labels)}" for axis, labels in experiment.axes.items())
    data = sorted({name for row in experiment.rows if (name := rows.all_settings(row).get("data_file"))})
    training, balancing = total(finished, "train_seconds"), total(finished, "balance_seconds")
    share = f" ({100 * balancing / training:.2g} %)" if balancing is not None and training else ""
    return [("file", path), ("axes", axes), ("decks", ", ".join(decks(experiment))), ("data", ", ".join(data)),
            *runpage.facts_of_runs(abouts), ("training, all rows", None if training is None else duration(training)),
            ("of it rebalancing and analysis", None if balancing is None else duration(balancing) + share),
            ("directory", os.path.abspath(experiment.directory))]


def decks(experiment):
    return sorted({row.deck for row in experiment.rows})


def total(finished, key):
    """Seconds over all finished rows; None where none says it."""
    known = [value for row in finished if isinstance(value := (rows.summary_of(row).get("timing") or {}).get(key), (int, float))]
    return sum(known) if known else None


def indented(lines):
    """What a line begins with is lost in HTML unless it is a wider space."""
    return [["\u2003" + line[0].strip() if line[0].startswith(" ") else line[0], *line[1:]] for line in lines]


def caption(layout, picture):
    place = f" ({picture.place})" if picture.place else ""
    columns = rows.short(layout.columns) if layout.columns else ""
    return CAPTIONS[picture.kind].format(metric=layout.metric, columns=columns, seeds=layout.seeds or "runs", place=place)


def cost(texts):
    """Nothing where no summary.json says it."""
    known = any(text not in ("", "-") for line in texts.costs[1:] for text in line[1:])
    return [page.table(texts.costs[0], indented(texts.costs[1:]), COST)] if known else []


def list_rows(experiment, states, others, finished, abouts):
    """What is not finished, and why; behind a line what is."""
    axes, metric = [rows.short(axis) for axis in experiment.axes], experiment.table.metric
    parts = []
    if others:
        lines = [[str(row.number), *row.labels.values(), states[row.number], rows.remark(row, states[row.number])] for row in others]
        parts.append(page.table(["row", *axes, "state", "what is known"], lines, "Rows that are not finished. experiment.py run goes on with them."))
    lines = [[str(row.number), *row.labels.values(), rows.metric_of(row, experiment.table), rows.seconds_of(row),
              runpage.when(abouts[row.number].get("started")), rundir.name_of(row.directory)] for row in finished]
    done = page.table(["row", *axes, metric, "training (s)", "started", "directory"], lines)
    return parts + [page.fold(f"{len(finished)} finished rows", done)]


def files(path, experiment):
    known = [("experiment", path), *(("deck", deck) for deck in decks(experiment)), *(("data", deck) for deck in experiment.data)]
    return [page.details(f"{kind}: {name}", runpage.read_text(name)) for kind, name in known if os.path.exists(name)]
