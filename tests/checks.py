"""What the checks of postproc/ share: their list, running it, and whether a figure's texts can be read."""
import contextlib
import io
import tempfile

import matplotlib.text

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def output_of(main, *arguments):
    """(exit status, stdout, stderr) of a program's main"""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main([str(argument) for argument in arguments])
    return status, output.getvalue(), errors.getvalue()


def run_checks():
    """Every check in a directory of its own, a line each; the exit status."""
    failed = 0
    for function in CHECKS:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                function(scratch)
                print(f"ok      {function.__name__}")
            except Exception as error:  # a check that breaks has failed, whatever the reason
                failed += 1
                print(f"FAIL    {function.__name__}: {type(error).__name__}: {error}")
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


def texts_that_clash(figure):
    """Drawn texts that leave the canvas or lie on one another."""
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    boxes = []
    for text in drawn_texts(figure):
        box = text.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            return f"'{text.get_text()}' leaves the figure"
        boxes.append((text.get_text(), box.padded(-1)))
    for i, (one, box) in enumerate(boxes):
        for other, other_box in boxes[:i]:
            if box.overlaps(other_box):
                return f"'{one}' lies on '{other}'"
    return None


def drawn_texts(figure):
    """All visible texts; of an axis only the labels of ticks within its limits."""
    hidden = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in axis.get_major_ticks() + axis.get_minor_ticks():
                if not ax.axison or not low - slack <= tick.get_loc() <= high + slack:
                    hidden.update((id(tick.label1), id(tick.label2)))
    found = figure.findobj(lambda artist: isinstance(artist, matplotlib.text.Text))
    return [text for text in found if text.get_visible() and text.get_text().strip() and id(text) not in hidden]
