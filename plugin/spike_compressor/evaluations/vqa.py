"""The VQA metric: how open answers are normalised, and how many of ten people must agree.

Antol et al., VQA: Visual Question Answering, ICCV 2015. Rules and tables are those of the official evaluation
(`vqaEval.py` of github.com/GT-Vision-Lab/VQA, BSD), its oddities included: results are compared with published ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Spelling without apostrophes, and with them; from `vqaEval.py`. Those with a capital letter never match.
_CONTRACTIONS = """
    aint ain't  arent aren't  cant can't  couldve could've  couldnt couldn't  couldn'tve couldn't've
    couldnt've couldn't've  didnt didn't  doesnt doesn't  dont don't  hadnt hadn't  hadnt've hadn't've
    hadn'tve hadn't've  hasnt hasn't  havent haven't  hed he'd  hed've he'd've  he'dve he'd've  hes he's  howd how'd
    howll how'll  hows how's  Id've I'd've  I'dve I'd've  Im I'm  Ive I've  isnt isn't  itd it'd  itd've it'd've
    it'dve it'd've  itll it'll  let's let's  maam ma'am  mightnt mightn't  mightnt've mightn't've
    mightn'tve mightn't've  mightve might've  mustnt mustn't  mustve must've  neednt needn't  notve not've
    oclock o'clock  oughtnt oughtn't  ow's'at 'ow's'at  'ows'at 'ow's'at  'ow'sat 'ow's'at  shant shan't
    shed've she'd've  she'dve she'd've  she's she's  shouldve should've  shouldnt shouldn't
    shouldnt've shouldn't've  shouldn'tve shouldn't've  somebody'd somebodyd  somebodyd've somebody'd've
    somebody'dve somebody'd've  somebodyll somebody'll  somebodys somebody's  someoned someone'd
    someoned've someone'd've  someone'dve someone'd've  someonell someone'll  someones someone's
    somethingd something'd  somethingd've something'd've  something'dve something'd've  somethingll something'll
    thats that's  thered there'd  thered've there'd've  there'dve there'd've  therere there're  theres there's
    theyd they'd  theyd've they'd've  they'dve they'd've  theyll they'll  theyre they're  theyve they've  twas 'twas
    wasnt wasn't  wed've we'd've  we'dve we'd've  weve we've  werent weren't  whatll what'll  whatre what're
    whats what's  whatve what've  whens when's  whered where'd  wheres where's  whereve where've  whod who'd
    whod've who'd've  who'dve who'd've  wholl who'll  whos who's  whove who've  whyll why'll  whyre why're
    whys why's  wont won't  wouldve would've  wouldnt wouldn't  wouldnt've wouldn't've  wouldn'tve wouldn't've
    yall y'all  yall'll y'all'll  y'allll y'all'll  yall'd've y'all'd've  y'alld've y'all'd've  y'all'dve y'all'd've
    youd you'd  youd've you'd've  you'dve you'd've  youll you'll  youre you're  youve you've
"""
_WORDS = _CONTRACTIONS.split()
CONTRACTIONS = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
_NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMERALS)}}
ARTICLES = frozenset(("a", "an", "the"))

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
#: Also a period behind a digit, as in `5.`: where the official expression asks for none before, it does not work.
_PERIOD = re.compile(r"\.(?!\d)")
#: The official code hands `re.sub` a flag where the number of replacements is expected.
_PERIODS = int(re.UNICODE)


def normalised(text: str) -> str:
    """An answer as the VQA metric compares it.

    Line breaks and tabs become spaces. A punctuation mark vanishes if one like it touches a space anywhere in the text,
    or if there is a comma within a number; else it becomes a space. Periods go unless a digit follows. Of the small
    letters' words, number words become digits, articles go, and contractions get their apostrophes.
    """
    text = text.replace("\n", " ").replace("\t", " ").strip()
    with_number = _COMMA_IN_NUMBER.search(text) is not None
    found = text
    for mark in _PUNCTUATION:
        joins = not with_number and f"{mark} " not in text and f" {mark}" not in text
        found = found.replace(mark, " " if joins else "")
    found = _PERIOD.sub("", found, count=_PERIODS)
    words = [NUMBERS.get(word, word) for word in found.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """The share of agreement with people's answers, 0 ... 1: three who say the same are enough.

    The mean over all people of min(1, how many of the others agree / 3). Both sides are always normalised, as TextVQA's
    authors and the evaluation kits do; `vqaEval.py` leaves that out where all people typed the very same.

    Args:
        given: people's answers, ten as a rule. A single one is simply right or wrong.
    """
    said = normalised(answer)
    agree = [normalised(one) == said for one in given]
    if len(agree) == 1:
        return float(agree[0])
    return sum(min(1.0, (sum(agree) - one) / 3) for one in agree) / len(agree)
