"""How the loam generator draws a `Plan`: a band along a bent axis, with legs under it, shaded by depth from the rim."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from soilpipe.simulate.compose import Sprite
from soilpipe.simulate.loam_bodies import Plan

_SHIFT = 4  # cv2 draws at 1/16 px


@dataclass(frozen=True)
class _Axis:
    """points, normals: (n, 2) x, y on the enlarged canvas; half: (n,) half width; at: (n,) place 0 head to 1 tail."""

    points: np.ndarray
    normals: np.ndarray
    half: np.ndarray
    at: np.ndarray
    length: float

    def place(self, at: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Point, forward direction, normal and half width at a place along the axis."""
        index = round(at * (len(self.at) - 1))
        normal = self.normals[index]
        return self.points[index], np.array([normal[1], -normal[0]]), normal, float(self.half[index])


def draw_plan(plan: Plan, length_mm: float, angle: float, px_per_mm: float, pose: int, nudge: int) -> Sprite:
    """An animal by its plan; see `generator.Generator.animal`."""
    rng, moved = np.random.default_rng([pose]), np.random.default_rng([pose, nudge + 1])
    length = max(3.0, length_mm * px_per_mm)
    enlarged = int(np.clip(260 // length, 1, 8))
    axis = _axis(plan, length * enlarged, angle, rng, moved if nudge else None)
    reach = float(axis.half.max()) + axis.length * max(plan.leg * 1.1, plan.antenna, plan.cerci, plan.furca, 0.02)
    half_size = np.ceil((np.abs(axis.points).max(axis=0) + reach) / enlarged).astype(int) + 2
    width, height = (int(v) * 2 * enlarged for v in half_size)
    centre = np.array([width / 2, height / 2])
    axis = _Axis(axis.points + centre, axis.normals, axis.half, axis.at, axis.length)
    limbs, limb_weight = _limbs(plan, axis, (height, width), moved, enlarged)
    along, body = _band(axis, (height, width))
    shade = rng.uniform(0.82, 1.08)
    tint = np.asarray(plan.colours[rng.integers(len(plan.colours))], np.float32) * np.float32(shade)
    pixels, skin, skin_alpha = _skin(plan, axis, along, body, tint, rng)
    # Legs first, then the body where it hides more than they do.
    total = np.minimum(1.0, limbs * np.float32(limb_weight * (plan.opacity[0] + 0.1)))
    mixed = total[..., None] * (tint * np.float32(0.88))
    over = skin_alpha >= total.ravel()[pixels]
    total.reshape(-1)[pixels[over]] = skin_alpha[over]
    mixed.reshape(-1, 3)[pixels[over]] = skin[over] * skin_alpha[over, None]
    size = (width // enlarged, height // enlarged)
    premultiplied = cv2.resize(mixed, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(total, size, interpolation=cv2.INTER_AREA)
    body = cv2.resize(body, size, interpolation=cv2.INTER_AREA)
    return Sprite(premultiplied / np.maximum(alpha, 1e-3)[..., None], alpha, body)


def _axis(
    plan: Plan, length: float, angle: float, rng: np.random.Generator, moved: np.random.Generator | None
) -> _Axis:
    n = int(np.clip(length / 3, 48, 240))
    at = np.linspace(0.0, 1.0, n)
    turn = plan.bend * rng.uniform(-1.0, 1.0)
    swing = plan.wave * rng.uniform(0.3, 1.0)
    beat, phase = rng.uniform(0.7, 2.2), rng.uniform(0.0, 2 * np.pi)
    if moved is not None:
        turn += 0.06 * plan.bend * moved.uniform(-1.0, 1.0)
        phase += moved.uniform(-0.15, 0.15)
    heading = angle + turn * (at - 0.5) * (1.0 + 0.6 * (at - 0.5)) + swing * np.sin(2 * np.pi * beat * at + phase)
    steps = -np.stack([np.cos(heading), np.sin(heading)], axis=1) * (length / (n - 1))
    points = np.cumsum(steps, axis=0)
    points -= points.mean(axis=0)
    normals = np.stack([-np.sin(heading), np.cos(heading)], axis=1)
    places, widths = np.array(plan.outline).T
    half = np.interp(at, places, widths) * length * rng.uniform(0.88, 1.12)
    if n > 8:
        half = np.convolve(np.pad(half, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    return _Axis(points, normals, half, at, length)


def _band(axis: _Axis, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) float32 place along the axis, and (H, W) float32 coverage by the body."""
    along, body = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    left, right = (axis.points + sign * axis.normals * axis.half[:, None] for sign in (1, -1))
    wide = axis.normals * (axis.half[:, None] * 1.3 + 1.0)
    quads = np.rint(np.stack([axis.points + wide, axis.points - wide], axis=1) * 2**_SHIFT).astype(np.int32)
    for i in range(len(axis.at) - 1):
        quad = np.array([quads[i, 0], quads[i, 1], quads[i + 1, 1], quads[i + 1, 0]])
        cv2.fillConvexPoly(along, quad, float(axis.at[i]), cv2.LINE_8, _SHIFT)
        piece = np.concatenate([left[i : i + 2], right[i : i + 2][::-1]])
        cv2.fillConvexPoly(body, np.rint(piece * 2**_SHIFT).astype(np.int32), 255, cv2.LINE_AA, _SHIFT)
    return along, body.astype(np.float32) / 255.0


def _skin(
    plan: Plan, axis: _Axis, along: np.ndarray, body: np.ndarray, tint: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of the body (n,) into the flat canvas, their colour (n, 3) and alpha (n,), float32.

    Joints, gut, pigment and gloss; thinner, and so more transparent, at the rim. Most of a canvas is empty, so only the
    body's pixels are worked on; what depends on the place along the axis alone is tabled and looked up.
    """
    pixels = np.flatnonzero(body > 0.004)
    at = np.linspace(0.0, 1.0, 1024)
    here = (along.ravel()[pixels] * 1023.0).astype(np.int32)
    thickness = np.maximum(np.interp(at, axis.at, axis.half), 1.0).astype(np.float32)
    inside = cv2.distanceTransform((body > 0.5).astype(np.uint8), cv2.DIST_L2, 5).ravel()[pixels]
    depth = np.minimum(inside / thickness[here], 1.0)
    root = np.sqrt(depth)
    tone = 0.72 + 0.32 * root
    if plan.segments:
        joint = np.cos(2 * np.pi * plan.segments * at) * 0.5 + 0.5
        tone *= (1.0 - plan.bands * joint**4).astype(np.float32)[here]
    if plan.gut:
        lumps = np.interp(at, np.linspace(0, 1, 24), rng.uniform(0.3, 1.0, 24))
        lumps = lumps * np.clip((at - 0.15) * 12, 0, 1) * np.clip((0.92 - at) * 12, 0, 1)
        tone *= 1.0 - np.clip((depth - 0.45) * 3.0, 0.0, 1.0) * (plan.gut * lumps).astype(np.float32)[here]
    if plan.spots:
        grain = max(2, int(axis.half.max() * 0.35))
        coarse = rng.standard_normal((body.shape[0] // grain + 2, body.shape[1] // grain + 2)).astype(np.float32)
        pattern = cv2.resize(coarse, body.shape[::-1], interpolation=cv2.INTER_CUBIC).ravel()[pixels]
        tone *= 1.0 + plan.spots * np.clip(pattern, -1.5, 1.5)
    if plan.shell:
        dy, dx = np.divmod(pixels, body.shape[1])
        dy, dx = dy - body.shape[0] / 2, dx - body.shape[1] / 2
        turns = np.hypot(dx, dy) / (axis.length * 0.13) + np.arctan2(dy, dx) / (2 * np.pi)
        tone *= (1.0 - 0.4 * (0.5 + 0.5 * np.cos(2 * np.pi * turns)) ** 5).astype(np.float32)
    colour = tint * tone[:, None]
    if plan.shine:
        # The lamp stands above the scan: the ridge of the back shines on its upper side.
        ridge = np.zeros(body.size + body.shape[1], np.float32)
        ridge[pixels] = np.clip(depth - 0.55, 0.0, 1.0) * 2.2
        below = np.minimum(pixels + max(1, int(axis.half.max() * 0.3)) * body.shape[1], body.size)
        colour += 255.0 * plan.shine * 0.22 * ((ridge[pixels] * ridge[below]) ** 2)[:, None]
    thin, thick = plan.opacity
    clear = np.float32(rng.uniform(0.85, 1.05))
    alpha = np.minimum(1.0, (thin + (thick - thin) * root) * clear) * body.ravel()[pixels]
    return pixels, np.clip(colour, 0.0, 255.0), alpha


def _limbs(
    plan: Plan, axis: _Axis, shape: tuple[int, int], moved: np.random.Generator, enlarged: int
) -> tuple[np.ndarray, float]:
    """(H, W) float32 coverage by legs, antennae and tail, and the weight that lines thinner than a pixel must have."""
    canvas = np.zeros(shape, np.uint8)
    leg_px = plan.leg * axis.length
    thickness = max(plan.leg * 0.075, 0.005) * axis.length
    weight = float(np.clip(thickness / 1.0, 0.35, 1.0))
    for pair in range(plan.legs):
        share = (pair + 0.5) / plan.legs
        point, forward, normal, half = axis.place(plan.legs_from + (plan.legs_to - plan.legs_from) * share)
        for side in (1.0, -1.0):
            lean = (0.7 - 1.4 * share if plan.legs <= 9 else 0.2) + moved.normal(0.0, 0.14)
            out = side * normal * np.cos(lean) + forward * np.sin(lean)
            back = side * normal * np.cos(lean - 0.6) + forward * np.sin(lean - 0.6)
            knee = point + side * normal * half * 0.8 + out * leg_px * 0.55
            _line(canvas, [point, knee, knee + back * leg_px * 0.55], thickness)
    if plan.antenna:
        point, forward, normal, half = axis.place(0.03)
        for side in (1.0, -1.0):
            spread = 0.35 + moved.normal(0.0, 0.12)
            way = forward * np.cos(spread) + side * normal * np.sin(spread)
            bent = forward * np.cos(spread * 1.9) + side * normal * np.sin(spread * 1.9)
            long = plan.antenna * axis.length
            start = point + side * normal * half * 0.5
            joints = [start, start + way * long * 0.3, start + way * long * 0.55 + bent * long * 0.05]
            _line(canvas, [*joints, joints[-1] + bent * long * 0.4], max(0.009 * axis.length, thickness * 0.8))
    tail = max(plan.cerci, plan.furca)
    if tail:
        point, forward, normal, half = axis.place(0.98)
        for side in (1.0, -1.0):
            spread = (0.28 if plan.cerci else 0.1) + moved.normal(0.0, 0.05)
            way = -forward * np.cos(spread) + side * normal * np.sin(spread)
            tip = point + way * tail * axis.length
            if plan.forceps:
                tip = tip - side * normal * tail * axis.length * 0.35
            middle = point + way * tail * axis.length * 0.5 + side * normal * half * (1.2 if plan.forceps else 0.0)
            _line(canvas, [point + side * normal * half * 0.5, middle, tip], thickness * (1.9 if plan.forceps else 0.8))
    if plan.claws:
        point, forward, normal, half = axis.place(0.05)
        for side in (1.0, -1.0):
            elbow = point + side * normal * (half + 0.22 * axis.length) + forward * 0.12 * axis.length
            hand = elbow + forward * 0.22 * axis.length - side * normal * 0.04 * axis.length
            _line(canvas, [point, elbow, hand], thickness * 1.2)
            _line(canvas, [elbow, hand], thickness * 2.6)
    return canvas.astype(np.float32) / 255.0, weight


def _line(canvas: np.ndarray, points: list[np.ndarray], thickness: float) -> None:
    """A limb through these points, thinner towards its tip."""
    path = np.rint(np.array(points) * 2**_SHIFT).astype(np.int32).tolist()
    for i in range(len(path) - 1):
        size = max(1, round(thickness * (1.0 - 0.45 * i / (len(path) - 1))))
        cv2.line(canvas, path[i], path[i + 1], 255, size, cv2.LINE_AA, _SHIFT)
