"""The members of a pipeline and the tree over them; a single model is the smallest one."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Self

from ..batch_queue import BatchQueue
from ..classifier import Classifier
from ..contract import Answer, Language, MemberAnswer, Provenance
from ..engines.engine import Engine
from .evaluation import Decision, Evaluation
from .member_rows import MemberRows
from .members import Member
from .shared_tokens import WindowTokens, find_sources
from .tree import Node, deciders_of, members_of, mixed_members, routes_by_language


class Composition:
    """Who answers a text.

    Attributes:
        device: What the first member computes on, `cpu` or `cuda`.
        variant: The engine and precision of the first member.
        is_composed: Whether there is more than a single member, so that answers name who decided.
        needs_languages: Whether the language of a text decides who answers it.
        provenance: That of a refusal: no member of a composed pipeline decided it.
    """

    def __init__(self, tree: Node, members: Mapping[str, Member], pipeline_uri: str) -> None:
        """Take what is composed.

        Args:
            tree: Who answers.
            members: The members that it names.
            pipeline_uri: The URI of the pipeline.
        """
        self._tree = tree
        self._members = {name: members[name] for name in dict.fromkeys(members_of(tree))}
        self._pipeline_uri = pipeline_uri
        self._mixed = mixed_members(tree)
        classifiers = [member.classifier for member in self._members.values()]
        self._sources = find_sources(classifiers)
        first = classifiers[0].engine
        self.device, self.variant = first.device, first.variant
        self.is_composed = not isinstance(tree, str)
        self.needs_languages = routes_by_language(tree)
        decider = self._members[tree].uri if isinstance(tree, str) else ""
        self.provenance = Provenance(decider, pipeline_uri)

    @classmethod
    def of(cls, classifier: Classifier, provenance: Provenance) -> Self:
        """Return the composition of a single model."""
        member = Member(classifier, provenance.finetuned_model_uri)
        return cls("model", {"model": member}, provenance.inference_pipeline_model_uri)

    @property
    def engines(self) -> dict[str, Engine]:
        """The engine of each member."""
        return {name: member.classifier.engine for name, member in self._members.items()}

    @property
    def queues(self) -> list[BatchQueue]:
        """The batches that wait for the engine of each member."""
        return [member.classifier.queue for member in self._members.values()]

    @cached_property
    def labels(self) -> list[str]:
        """The labels that answers may have, in the order of the members."""
        deciders = deciders_of(self._tree)
        found = (m.classifier.labels for name, m in self._members.items() if name in deciders)
        return list(dict.fromkeys(chain.from_iterable(found)))

    def evaluation(
        self, texts: Sequence[str], *, batch_tokens: int, all_scores: bool
    ) -> Evaluation:
        """Return the evaluation of a window; nothing is computed yet.

        Args:
            texts: The texts of the window.
            batch_tokens: Padded tokens in a batch at most.
            all_scores: Whether each prediction has the probability of every label.
        """
        window = WindowTokens(texts, self._sources)
        rows = {
            name: MemberRows(
                member.classifier,
                window,
                batch_tokens=batch_tokens,
                all_scores=all_scores or name in self._mixed,
            )
            for name, member in self._members.items()
        }
        return Evaluation(self._tree, rows)

    def answer(
        self, decision: Decision, language: Language, evaluation: Evaluation, row: int
    ) -> Answer:
        """Return the answer to a row that was decided.

        Args:
            decision: Its decision.
            language: The language of its text.
            evaluation: That of its window.
            row: Its index there.
        """
        if not self.is_composed:
            return Answer(decision.prediction, language, self.provenance)
        return Answer(
            decision.prediction,
            language,
            Provenance(self._members[decision.decided_by].uri, self._pipeline_uri),
            decision.decided_by,
            tuple(
                MemberAnswer(name, self._members[name].uri, found.label, found.score)
                for name, found in evaluation.predicted_by(row)
            ),
        )
