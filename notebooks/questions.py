"""The twenty questions of the analyst's guide as a marimo notebook, with plots; `make notebook` opens it.

It reads the published file of the data directory and writes nothing. Change a query or a plot and everything below it
follows.
"""

import marimo

app = marimo.App(width="medium", app_title="Twenty questions")


@app.cell
def _():
    import marimo as mo
    import matplotlib.pyplot as plt

    from flywheel_pipelines.guide import answer, questions, read_guide
    from flywheel_pipelines.paths import DataPaths
    from flywheel_pipelines.published import query

    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "figure.figsize": (8, 3.2)})
    return DataPaths, answer, mo, plt, query, questions, read_guide


@app.cell
def _(DataPaths, query):
    paths = DataPaths.from_environment()

    def rows(sql):
        """The rows of a query on the published file, as dictionaries."""
        names, found = query(paths, sql)
        return [dict(zip(names, row, strict=True)) for row in found]

    return paths, rows


@app.cell
def _(mo, paths, rows):
    simulated = [row["flywheel"] for row in rows("select distinct flywheel from cycles where is_synthetic order by 1")]
    mo.md(
        f"""
        # Twenty questions

        Answers from `{paths.published_file}`.
        {"**Simulated**, nobody wrote, sent or read any of it: " + ", ".join(simulated) + "." if simulated else ""}
        """
    )
    return (simulated,)


@app.cell
def _(answer, mo, paths, questions, read_guide):
    answers = {}
    for _question in questions(read_guide()):
        _names, _found = answer(paths, _question)
        answers[f"{_question.number}. {_question.title}"] = (
            _question,
            [dict(zip(_names, _row, strict=True)) for _row in _found],
        )
    mo.accordion(
        {
            _title: mo.vstack(
                [
                    mo.md(_question.words),
                    mo.md(f"```sql\n{_question.sql}\n```"),
                    mo.ui.table(_rows, selection=None) if _rows else mo.md("*No rows.*"),
                ]
            )
            for _title, (_question, _rows) in answers.items()
        }
    )
    return (answers,)


@app.cell
def _(mo):
    mo.md("## Does it spin? The lift over the treadmill, with the interval that holds at all looks")
    return


@app.cell
def _(plt, rows):
    momentum = rows("select flywheel, cycle, anytime_lift, anytime_lower, anytime_upper from momentum order by all")
    lift_figure, _axes = plt.subplots()
    for _flywheel in sorted({_row["flywheel"] for _row in momentum}):
        _known = [_row for _row in momentum if _row["flywheel"] == _flywheel and _row["anytime_lift"] is not None]
        _cycles = [_row["cycle"] for _row in _known]
        _axes.plot(_cycles, [_row["anytime_lift"] for _row in _known], label=_flywheel)
        _bounded = [_row for _row in _known if _row["anytime_lower"] is not None and _row["anytime_upper"] is not None]
        _axes.fill_between(
            [_row["cycle"] for _row in _bounded],
            [_row["anytime_lower"] for _row in _bounded],
            [min(_row["anytime_upper"], 3) for _row in _bounded],
            alpha=0.15,
        )
    _axes.axhline(0, color="grey", linewidth=0.8)
    _axes.set(ylabel="cumulative lift", ylim=(-1, 3))
    _axes.legend(frameon=False)
    lift_figure
    return lift_figure, momentum


@app.cell
def _(mo):
    mo.md("## In which segments? Lift per segment, intervals for all looks and all segments together")
    return


@app.cell
def _(plt, rows):
    segments = rows("from segments where is_latest and lift is not null order by flywheel desc, segment desc")
    segment_figure, _axes = plt.subplots(figsize=(8, 0.8 + 0.3 * len(segments)))
    for _place, _row in enumerate(segments):
        _axes.plot(_row["lift"], _place, "o", color="black")
        if _row["lower"] is not None and _row["upper"] is not None:
            _axes.plot([_row["lower"], min(_row["upper"], 4)], [_place, _place], color="black", linewidth=1)
    _axes.axvline(0, color="grey", linewidth=0.8)
    _axes.set_yticks(range(len(segments)), [f"{_row['flywheel']}: {_row['segment']}" for _row in segments])
    _axes.set(xlabel="lift over the treadmill; dots alone have no interval yet", xlim=(-1, 4))
    segment_figure
    return segment_figure, segments


@app.cell
def _(mo):
    mo.md("## What does one promoted output cost, and is it falling?")
    return


@app.cell
def _(plt, rows):
    costs = rows(
        """
        select flywheel, date_trunc('month', cycle) as month,
            100 * sum(cost) / nullif(sum(n_promoted), 0) as cents
        from costs
        where arm = 'all'
        group by all
        order by all
        """
    )
    cost_figure, _axes = plt.subplots()
    for _flywheel in sorted({_row["flywheel"] for _row in costs}):
        _known = [_row for _row in costs if _row["flywheel"] == _flywheel and _row["cents"] is not None]
        _axes.plot([_row["month"] for _row in _known], [_row["cents"] for _row in _known], marker="o", label=_flywheel)
    _axes.set(ylabel="US cents per promoted output")
    _axes.set_ylim(bottom=0)
    _axes.legend(frameon=False)
    cost_figure
    return cost_figure, costs


@app.cell
def _(mo):
    mo.md("## How far off is the first close? Weekly values as first known, and as known now")
    return


@app.cell
def _(plt, rows):
    restated = rows(
        """
        select p.flywheel, p.cycle, p.metric, p.value, p.first_known_value
        from performance as p
        inner join momentum as m using (flywheel, cycle, metric)
        where p.arm = 'all'
        order by all
        """
    )
    restated_figure, _axes = plt.subplots()
    for _flywheel in sorted({_row["flywheel"] for _row in restated}):
        _known = [_row for _row in restated if _row["flywheel"] == _flywheel]
        _cycles = [_row["cycle"] for _row in _known]
        (_line,) = _axes.plot(_cycles, [_row["value"] for _row in _known], label=f"{_flywheel}: {_known[0]['metric']}")
        _axes.plot(_cycles, [_row["first_known_value"] for _row in _known], "--", color=_line.get_color(), alpha=0.6)
    _axes.set(ylabel="value (dashed: as first known)")
    _axes.legend(frameon=False)
    restated_figure
    return restated, restated_figure


@app.cell
def _(mo):
    mo.md("## Which winners have successful descendants? Generations reach far; few reach well")
    return


@app.cell
def _(plt, rows):
    ancestors = rows("select flywheel, n_judged, promoted_share from ancestry where n_judged > 0 order by all")
    ancestor_figure, _axes = plt.subplots()
    for _flywheel in sorted({_row["flywheel"] for _row in ancestors}):
        _known = [_row for _row in ancestors if _row["flywheel"] == _flywheel]
        _axes.plot(
            [_row["n_judged"] for _row in _known],
            [_row["promoted_share"] for _row in _known],
            "o",
            alpha=0.5,
            label=_flywheel,
        )
    _axes.set(xlabel="descendants that were judged", ylabel="share promoted", ylim=(-0.05, 1.05))
    _axes.legend(frameon=False)
    ancestor_figure
    return ancestor_figure, ancestors


if __name__ == "__main__":
    app.run()
