"""A cell library of a dozen cells as Liberty text, in units of choice: what the flow has to find its way through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

UNITS = {"ns": 1.0, "ps": 1e3, "pf": 1.0, "ff": 1e3}


def library(
    name: str = "tiny",
    *,
    time: str = "ns",
    load: str = "pf",
    without: Iterable[str] = (),
    only: Iterable[str] | None = None,
    also: Mapping[str, float] | None = None,
    more: str = "",
    header: Mapping[str, str] | None = None,
) -> str:
    """The text; the same library whatever the units.

    Args:
        time: "ns" or "ps".
        load: "pf" or "ff".
        without: cells to leave out.
        only: cells to take.
        also: of AND and ADD, which are not there otherwise, the areas.
        more: another cell's text.
        header: attributes in place of the usual ones; "" leaves one out.
    """
    t, c = UNITS[time], UNITS[load]

    def numbers(*values: float) -> str:
        return f'("{", ".join(f"{value:.9g}" for value in values)}")'

    axes = f"index_1 {numbers(0.01 * t, 1 * t)}; index_2 {numbers(0.001 * c, 0.1 * c)};"

    def table(kind: str, slow: float, scale: float, template: str) -> str:
        rows = [f'"{slow * scale:.9g}, {3 * slow * scale:.9g}"', f'"{2 * slow * scale:.9g}, {4 * slow * scale:.9g}"']
        return f"{kind} ({template}) {{ {axes} values ({', '.join(rows)}); }}"

    def pin_in(pin: str, cap: float = 0.01, extra: str = "") -> str:
        return f"pin ({pin}) {{ direction : input; capacitance : {cap * c:.9g}; {extra} }}"

    def pin_out(pin: str, function: str, related: str, extra: str = "", kind: str = "function") -> str:
        arcs = " ".join(table(one, 0.1, t, "delay") for one in ("cell_rise", "cell_fall"))
        arcs += " ".join(table(one, 0.08, t, "delay") for one in ("rise_transition", "fall_transition"))
        power = " ".join(table(one, 0.02, c, "power") for one in ("rise_power", "fall_power"))
        sense = {"A": "positive_unate", "!A": "negative_unate", "A^B": "non_unate"}.get(function, "negative_unate")
        edge = "timing_type : rising_edge;" if related == "CK" else f"timing_sense : {sense};"
        return (
            f'pin ({pin}) {{ direction : output; max_capacitance : {0.5 * c:.9g}; {kind} : "{function}"; {extra} '
            + " ".join(f'timing () {{ related_pin : "{one}"; {edge} {arcs} }}' for one in related.split())
            + f' internal_power () {{ related_pin : "{related}"; {power} }} }}'
        )

    def setup() -> str:
        one = f'(scalar) {{ values ("{0.05 * t:.9g}"); }}'
        return (
            'timing () { related_pin : "CK"; timing_type : setup_rising; '
            f"rise_constraint {one} fall_constraint {one} }}"
        )

    flop_in = pin_in("D", extra=setup()) + pin_in("CK", extra="clock : true;")
    cells = {
        "INV": ("2", pin_in("A") + pin_out("Y", "!A", "A")),
        "BUF": ("3", pin_in("A") + pin_out("Y", "A", "A")),
        "NAND": ("3", pin_in("A") + pin_in("B") + pin_out("Y", "(A B)'", "A B")),
        "NOR": ("3", pin_in("A") + pin_in("B") + pin_out("Y", "!(A+B)", "A B")),
        "AND": ("4", pin_in("A") + pin_in("B") + pin_out("Y", "A B", "A B")),
        "ADD": (
            "29",
            pin_in("A") + pin_in("B") + pin_in("C")
            + pin_out("S", "A^B^C", "A B C") + pin_out("K", "A B + A C + B C", "A B C"),
        ),
        "XOR": ("8", pin_in("A") + pin_in("B") + pin_out("Y", "A^B", "A B")),
        "FA": (
            "12",
            pin_in("A") + pin_in("B") + pin_in("C")
            + pin_out("CON", "(!A * !B) + (!A * !C) + (!B * !C)", "A B C")
            + pin_out("SN", "!(A ^ B ^ C)", "A B C"),
        ),
        "DFFN": ("14", 'ff (IQN, IQ) { clocked_on : "CK"; next_state : "!D"; }' + flop_in + pin_out("QN", "IQN", "CK")),
        "SDFF": (
            "9",
            'ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; } test_cell () { }'
            + flop_in + pin_in("SI", extra='nextstate_type : "scan_in";') + pin_out("Q", "IQ", "CK"),
        ),
        "EDFF": (
            "9",
            'ff (IQ, IQN) { clocked_on : "CK"; next_state : "(D E) + (IQ E\')"; }'
            + flop_in + pin_in("E") + pin_out("Q", "IQ", "CK"),
        ),
        "TRI": ("1", pin_in("A") + pin_in("E") + pin_out("Y", "A", "A", 'three_state : "E";')),
        "OLD": ("1", "dont_use : true;" + pin_in("A") + pin_out("Y", "!A", "A")),
        "LAT": ("10", 'latch (IQ, IQN) { data_in : "D"; enable : "G"; }' + pin_in("D") + pin_in("G")
                + pin_out("Q", "IQ", "D")),
        "ICG": (
            "11",
            'clock_gating_integrated_cell : "latch_posedge_precontrol"; dont_use : true; '
            'statetable ("CK E SE", "IQ") { table : "L L L : - : L"; }'
            + pin_in("CK", extra="clock : true; clock_gate_clock_pin : true;")
            + pin_in("E", extra="clock_gate_enable_pin : true;")
            + pin_in("SE", extra="clock_gate_test_pin : true;")
            + pin_out("GCK", "CK * IQ", "CK", "clock_gate_out_pin : true;", "state_function"),
        ),
    }  # fmt: skip
    attributes = {
        "delay_model": ": table_lookup",
        "time_unit": f': "1{time}"',
        "capacitive_load_unit": f"(1, {load})",
        "voltage_unit": ': "1V"',
        "leakage_power_unit": ': "1nW"',
        "current_unit": ': "1mA"',
        "nom_voltage": ": 1.0",
        "nom_process": ": 1",
        "nom_temperature": ": 25",
        **{f"{way}_threshold_pct_{edge}": ": 50" for way in ("input", "output") for edge in ("rise", "fall")},
        **{f"slew_lower_threshold_pct_{edge}": ": 20" for edge in ("rise", "fall")},
        **{f"slew_upper_threshold_pct_{edge}": ": 80" for edge in ("rise", "fall")},
        **(header or {}),
    }
    templates = "\n".join(
        f"{kind} ({one}) {{ variable_1 : {first}; variable_2 : total_output_net_capacitance; {axes} }}"
        for kind, one, first in (
            ("lu_table_template", "delay", "input_net_transition"),
            ("power_lut_template", "power", "input_transition_time"),
        )
    )
    areas = {key: area for key, (area, _) in cells.items() if key not in ("AND", "ADD")} | dict(also or {})
    chosen = [key for key in areas if key not in without and (only is None or key in only)]
    text = "\n".join(f"cell ({key}) {{ area : {areas[key]}; {cells[key][1]} }}" for key in chosen)
    head = "\n".join(f"  {key} {value};" for key, value in attributes.items() if value)
    return f"/* made by a test */\nlibrary ({name}) {{\n{head}\n{templates}\n{text}\n{more}\n}}\n"


DESCRIPTION = '{"libraries": [{"library": "tiny.*", "name": "Tiny", "slug": "tiny", "bitcell_um2": 1.0}]}'
