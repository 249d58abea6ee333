"""Every loss as a loop over plain numbers: what the tensor forms must equal, under the same names and arguments."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import exp, log, log1p, sqrt
from statistics import fmean, median_low

Row = Sequence[float]
Rows = Sequence[Row]
Relation = Sequence[Sequence[bool]]


def mean(numbers: Iterable[float]) -> float:
    listed = list(numbers)
    return fmean(listed) if listed else 0.0


def dot(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def scaled(a: Row, length: float = 1.0) -> list[float]:
    return [length * x / sqrt(dot(a, a)) for x in a]


def cosine(a: Row, b: Row) -> float:
    return dot(scaled(a), scaled(b))


def squared_distance(a: Row, b: Row) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def distance(a: Row, b: Row) -> float:
    return sqrt(squared_distance(a, b))


def softmax(a: Row) -> list[float]:
    return [exp(x) / sum(map(exp, a)) for x in a]


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def entropy(p: Row) -> float:
    return -sum(x * log(x) for x in p)


def transposed(relation: Relation) -> Relation:
    return list(zip(*relation, strict=True))


def both_ways(images: Rows, texts: Rows, relation: Relation) -> list[tuple[Rows, Rows, Relation]]:
    return [(images, texts, relation), (texts, images, transposed(relation))]


def intra_class(embeddings: Rows, same: Relation, neighbours: int | None = None) -> float:
    points, rows = [scaled(row) for row in embeddings], []
    for i, point in enumerate(points):
        mates = sorted(squared_distance(point, other) for j, other in enumerate(points) if j != i and same[i][j])
        rows += [mean(mates[:neighbours])] if mates else []  # an item alone in its class does not count
    return mean(rows)


def inter_class(embeddings: Rows, same: Relation, margin: float | None = 1.0, neighbours: int | None = None) -> float:
    points, rows = [scaled(row) for row in embeddings], []
    for i, point in enumerate(points):
        strangers = sorted(squared_distance(point, other) for j, other in enumerate(points) if not same[i][j])
        rows.append(mean(-d if margin is None else max(0.0, margin - d) for d in strangers[:neighbours]))
    return mean(rows)


def paired_difference(images: Rows, texts: Rows) -> float:
    return mean(squared_distance(scaled(v), scaled(t)) for v, t in zip(images, texts, strict=True))


def cross_difference(images: Rows, texts: Rows, same: Relation) -> float:
    rows = []
    for i, image in enumerate(images):
        rows.append(mean(squared_distance(scaled(image), scaled(t)) for j, t in enumerate(texts) if same[i][j]))
    return mean(rows)


def pair_distance(images: Rows, texts: Rows) -> float:
    return mean(distance(v, t) for v, t in zip(images, texts, strict=True))


def bidirectional_triplet(
    images: Rows,
    texts: Rows,
    negatives: Relation,
    margin: float = 0.2,
    mining: str = "hardest",
    reduction: str = "sum",
    positives: str = "own",
) -> float:
    total = 0.0
    for queries, gallery, strangers in both_ways(images, texts, negatives):
        for i, query in enumerate(queries):
            rivals = [cosine(query, x) for j, x in enumerate(gallery) if strangers[i][j]]
            mates = [i] if positives == "own" else [p for p in range(len(gallery)) if not strangers[i][p]]
            by_mate = [[max(0.0, margin - cosine(query, gallery[p]) + rival) for rival in rivals] for p in mates]
            total += mean(max(costs) if mining == "hardest" else sum(costs) for costs in by_mate)
    return total / len(images) if reduction == "mean" else total


def invariance_triplet(images: Rows, texts: Rows, same: Relation, margin: float, weight: float) -> float:
    total = 0.0
    for queries, gallery, mates in both_ways(images, texts, same):
        for i, query in enumerate(queries):
            hinges = [max(0.0, margin - distance(query, x)) for j, x in enumerate(gallery) if not mates[i][j]]
            total += distance(query, gallery[i]) + weight * mean(hinges)
    return total / len(images)


def info_nce(images: Rows, texts: Rows, match: Relation, scale: float) -> float:
    rows = []
    for queries, gallery, matches in both_ways(images, texts, match):
        for i, query in enumerate(queries):
            p = softmax([scale * cosine(query, item) for item in gallery])
            rows.append(mean(-log(x) for x, matching in zip(p, matches[i], strict=True) if matching))
    return mean(rows)


def batch_classification(queries: Rows, targets: Rows, negatives: Relation, scale: float) -> float:
    costs = []
    for i, query in enumerate(queries):
        rivals = [i, *(j for j in range(len(targets)) if negatives[i][j])]
        costs.append(-log(softmax([scale**2 * cosine(query, targets[j]) for j in rivals])[0]))
    return mean(costs)


def soft_triplet(queries: Rows, targets: Rows, negatives: Relation, scale: float) -> float:
    n, items = len(queries), [scaled(row, scale) for row in (*queries, *targets)]
    costs = []
    for place, anchor in enumerate(items):
        own, i = squared_distance(anchor, items[(place + n) % (2 * n)]), place % n
        strangers = [x for j, x in enumerate(items) if negatives[i][j % n] and negatives[j % n][i]]
        costs.append(mean(log1p(exp(own - squared_distance(anchor, x))) for x in strangers))
    return mean(costs)


def pairwise_likelihood(images: Rows, texts: Rows, same: Relation) -> float:
    total = 0.0
    for first, second in ((images, images), (images, texts), (texts, texts)):
        thetas = [[cosine(a, b) / 2 for b in second] for a in first]
        total += mean(
            log1p(exp(x)) - mate * x for i, row in enumerate(thetas) for x, mate in zip(row, same[i], strict=True)
        )
    return total


def label_loss(logits: Rows, label: Sequence[int] | Relation) -> float:
    costs = []
    for row, y in zip(logits, label, strict=True):
        classes = [y] if isinstance(y, int) else [c for c, hot in enumerate(y) if hot]
        costs.append(mean(-log(softmax(row)[c]) for c in classes))
    return mean(costs)


def label_calibration(image_logits: Rows, text_logits: Rows, temperature: float = 4.0) -> float:
    costs = []
    for image, text in zip(image_logits, text_logits, strict=True):
        p, q = (softmax([z / temperature for z in row]) for row in (text, image))
        costs.append(sum(x * log(x / y) for x, y in zip(p, q, strict=True)))
    return temperature**2 * mean(costs)


label_regression = pair_distance


def cross_modal_projection(images: Rows, texts: Rows, match: Relation) -> float:
    total = 0.0
    for queries, gallery, matches in both_ways(images, texts, match):
        for i, query in enumerate(queries):
            p = softmax([dot(query, scaled(item)) for item in gallery])
            q = [x / sum(matches[i]) for x in matches[i]]
            total += sum(x * log(1e-8 + x / (y + 1e-8)) for x, y in zip(p, q, strict=True))
    return total / len(images)


def projection_classification(images: Rows, texts: Rows, weight: Rows, label: Sequence[int]) -> float:
    total = 0.0
    for items, partners in ((images, texts), (texts, images)):
        for item, partner, y in zip(items, partners, label, strict=True):
            projected = scaled(partner, dot(item, scaled(partner)))
            total -= log(softmax([dot(scaled(row), projected) for row in weight])[y])
    return total / len(images)


def modality_loss(image_logits: Row, text_logits: Row) -> float:
    return -mean([log(sigmoid(z)) for z in image_logits] + [log(1 - sigmoid(z)) for z in text_logits])


def binary_entropy(logits: Row) -> float:
    return sum(entropy([sigmoid(z), 1 - sigmoid(z)]) for z in logits)


def adversarial_modality(image_logits: Row, text_logits: Row, mode: str) -> float:
    p = [sigmoid(z) for z in image_logits] + [1 - sigmoid(z) for z in text_logits]  # of the truth
    return mean({"reversal": log(x), "flipped": -log(1 - x), "entropy": -entropy([x, 1 - x])}[mode] for x in p)


def rotation_loss(logits: Sequence[Rows]) -> float:
    return mean(-log(softmax(row)[r]) for item in logits for r, row in enumerate(item))


def adversarial_rotation(logits: Sequence[Rows], mode: str) -> float:
    costs = []
    for r, row in ((r, row) for item in logits for r, row in enumerate(item)):
        p = softmax(row)
        others = mean(-log(x) for a, x in enumerate(p) if a != r)
        costs.append({"reversal": log(p[r]), "flipped": others, "entropy": -entropy(p)}[mode])
    return mean(costs)


def located(scores: Sequence[Rows] | Rows) -> list[list[list[float]]]:
    return [[list(x) if isinstance(x, list) else [x] for x in row] for row in scores]


def jensen_shannon(scores: Sequence[Rows], negatives: Relation) -> float:
    u, n = located(scores), len(scores)
    positive = mean(log(2) + log(sigmoid(x)) for i in range(n) for x in u[i][i])
    pairs = [(i, j) for i in range(n) for j in range(n) if negatives[i][j]]
    return mean(x - log(sigmoid(x)) - log(2) for i, j in pairs for x in u[i][j]) - positive


def noise_contrastive(scores: Sequence[Rows], negatives: Relation) -> float:
    u, costs = located(scores), []
    for i, row in enumerate(u):
        others = sum(exp(x) for j, pair in enumerate(row) if negatives[i][j] for x in pair)
        costs += [-log(exp(x) / (exp(x) + others)) for x in row[i]]
    return mean(costs)


def donsker_varadhan(scores: Sequence[Rows], negatives: Relation) -> float:
    u, n = located(scores), len(scores)
    others = mean(exp(x) for i in range(n) for j in range(n) if negatives[i][j] for x in u[i][j])
    return log(others) - mean(x for i in range(n) for x in u[i][i])


def mutual_information(scores: Sequence[Rows], negatives: Relation, estimator: str) -> float:
    return {"jsd": jensen_shannon, "nce": noise_contrastive, "dv": donsker_varadhan}[estimator](scores, negatives)


def column_means(points: Rows) -> list[float]:
    return [mean(column) for column in zip(*points, strict=True)]


def maximum_mean_discrepancy(images: Rows, texts: Rows, unbiased: bool = False) -> float:
    median = median_low(squared_distance(a, b) for a, b in combinations([*images, *texts], 2))

    def kernel(a: Row, b: Row) -> float:
        return sum(exp(-squared_distance(a, b) / (s * median)) for s in (1 / 4, 1 / 2, 1, 2, 4))

    def within(points: Rows) -> float:
        return mean(kernel(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j or not unbiased)

    return within(images) + within(texts) - 2 * mean(kernel(v, t) for v in images for t in texts)


def coral(images: Rows, texts: Rows, means: bool) -> float:
    dims = range(len(images[0]))

    def covariance(points: Rows, d: int, e: int) -> float:
        centre = column_means(points)
        return sum((x[d] - centre[d]) * (x[e] - centre[e]) for x in points) / (len(points) - 1)

    differences = [(covariance(images, d, e) - covariance(texts, d, e)) ** 2 for d in dims for e in dims]
    apart = squared_distance(column_means(images), column_means(texts)) / len(dims)
    return apart + mean(differences) if means else sum(differences) / (4 * len(dims) ** 2)


def sinkhorn_divergence(images: Rows, texts: Rows, smoothing: float) -> float:
    eps = smoothing * mean(squared_distance(v, t) / 2 for v in images for t in texts)

    def transport(first: Rows, second: Rows) -> float:
        costs = [[squared_distance(a, b) / 2 for b in second] for a in first]
        kernel = [[exp(-c / eps) for c in row] for row in costs]
        u, v = [1.0] * len(first), [1.0] * len(second)
        for _ in range(300):
            u = [1 / len(first) / dot(row, v) for row in kernel]
            v = [1 / len(second) / dot(column, u) for column in zip(*kernel, strict=True)]
        plan = [[x * k * y for k, y in zip(row, v, strict=True)] for x, row in zip(u, kernel, strict=True)]
        uniform = 1 / len(first) / len(second)
        moved = [(p, c) for ps, cs in zip(plan, costs, strict=True) for p, c in zip(ps, cs, strict=True)]
        return sum(p * c + eps * p * log(p / uniform) for p, c in moved)

    return transport(images, texts) - transport(images, images) / 2 - transport(texts, texts) / 2


def centring(images: Rows, texts: Rows) -> float:
    return squared_distance(column_means(images), column_means(texts))


def class_centring(images: Rows, texts: Rows, image_classes: Rows, text_classes: Rows) -> float:
    def mean_of(points: Rows, p: Row) -> list[float]:
        return [dot(column, p) / sum(p) for column in zip(*points, strict=True)]

    weights = zip(transposed(image_classes), transposed(text_classes), strict=True)
    shared = [(p, q) for p, q in weights if sum(p) > 0.5 and sum(q) > 0.5]
    return mean(squared_distance(mean_of(images, p), mean_of(texts, q)) for p, q in shared)


def class_product(points: Rows, classes: Rows) -> float:
    return sum(sqrt(len(p)) * x * y for point, p in zip(points, classes, strict=True) for x in p for y in point)


def zero_centred_penalty(weight: Rows, points: Rows) -> float:
    rows = []
    for point in points:
        slopes = [sigmoid(dot(w, point)) * sigmoid(-dot(w, point)) for w in weight]
        rows.append(sum(dot(column, slopes) ** 2 for column in zip(*weight, strict=True)))
    return mean(rows)


def unit_slope_penalty(weight: Rows, images: Rows, texts: Rows) -> float:
    return (sqrt(dot(weight[0], weight[0])) - 1) ** 2
