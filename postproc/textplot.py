"""Curves drawn with characters: braille (2 x 4 dots a character), or ASCII (1 x 2)."""
import math
import unicodedata

# place of the dot in column x, row y of a braille character, as Unicode numbers them
BRAILLE = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
HALVES = " '.:"  # nothing, upper, lower, both
BLOCKS = " ▏▎▍▌▋▊▉█"
LABEL = 9  # characters left of the axis


def plot(points, width, height, span=None, ascii_only=False):
    """`height` lines of at most `width` characters: the curve through [(x, y)] with its values at top and bottom, and x below.

    `span`: first and last x of the axis, by default those of the points. Logarithmic where the values are positive and
    span at least a factor of 5."""
    points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    columns, rows = max(1, width - LABEL - 2), max(1, height - 1)
    if not points:
        empty = [""] * (rows + 1)
        empty[rows // 2] = " " * (LABEL + 2) + "no values yet"[:columns]
        return empty
    left, right = span or (points[0][0], points[-1][0])
    low, high, scaled = _scale(points, left, right)
    dots = _Dots(columns, rows, ascii_only)
    dots.curve(scaled)
    lines = [" " * LABEL + " " + ("|" if ascii_only else "│") + text for text in dots.lines()]
    lines[0] = f"{high:{LABEL}.3g}" + lines[0][LABEL:]
    if rows > 1:
        lines[-1] = f"{low:{LABEL}.3g}" + lines[-1][LABEL:]
    first, last = f"{left:g}", f"{right:g}"
    below = first.center(columns) if left == right else first + last.rjust(columns - len(first))
    return [line.rstrip() for line in lines + [" " * (LABEL + 2) + below[:columns]]]


def _scale(points, left, right):
    """Lowest and highest value, and the points with both coordinates in [0, 1]."""
    values = [y for _, y in points]
    low, high = min(values), max(values)
    take = math.log if low > 0 and high >= 5 * low else float
    bottom, top = take(low), take(high)
    across = [min(max((x - left) / (right - left), 0), 1) if right > left else 0.5 for x, _ in points]
    return low, high, [(x, (take(y) - bottom) / (top - bottom) if top > bottom else 0.5) for x, (_, y) in zip(across, points)]


class _Dots:
    def __init__(self, columns, rows, ascii_only):
        self.columns, self.rows, self.ascii_only = columns, rows, ascii_only
        self.wide, self.tall = (1, 2) if ascii_only else (2, 4)
        self.cells = [[0] * columns for _ in range(rows)]

    def curve(self, points):
        nx, ny = self.columns * self.wide - 1, self.rows * self.tall - 1
        before = None
        for x, y in points:
            here = (round(x * nx), round((1 - y) * ny))
            self._line(before or here, here)
            before = here

    def _line(self, start, end):
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            x, y = (round(a + (b - a) * step / steps) for a, b in zip(start, end))
            bit = 1 << y % 2 if self.ascii_only else BRAILLE[x % 2][y % 4]
            self.cells[y // self.tall][x // self.wide] |= bit

    def lines(self):
        draw = HALVES.__getitem__ if self.ascii_only else lambda bits: chr(0x2800 + bits) if bits else " "
        return ["".join(map(draw, row)) for row in self.cells]


def bar(fraction, width, ascii_only=False):
    """Exactly `width` characters, filled from the left."""
    fraction = min(max(fraction, 0), 1)
    if ascii_only:
        full = round(fraction * width)
        return "#" * full + "-" * (width - full)
    eighths = round(fraction * width * 8)
    text = "█" * (eighths // 8) + (BLOCKS[eighths % 8] if eighths % 8 else "")
    return text.ljust(width)


def columns_of(text):
    """Columns of the terminal that the text takes: East Asian wide characters take two, accents none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text, width, ascii_only=False):
    """The text in at most `width` columns, its end replaced by dots if need be, without control characters."""
    text = "".join(c if c.isprintable() and (c.isascii() or not ascii_only) else "?" for c in text)
    if columns_of(text) <= width:
        return text
    dots = "..." if ascii_only else "…"
    while text and columns_of(text + dots) > width:
        text = text[:-1]
    return (text + dots)[:max(0, width)]


def pad(text, width, ascii_only=False):
    text = fit(text, width, ascii_only)
    return text + " " * (width - columns_of(text))
