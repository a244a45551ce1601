"""A request's chain of samplers."""

import ctypes
import math
from collections.abc import Collection

import llama_cpp

from workers.llama.context import Context
from workers.llama.model import Model
from workers.protocol import Sampling
from workers.sampling.dry import Repetitions
from workers.sampling.logprobs import FLOOR, left
from workers.sampling.stages import RENEWED, Stage, draw_seed, stages


class Sampler:
    """One request's chain of samplers in C; some stages are made anew for each token."""

    def __init__(self, model: Model, sampling: Sampling, *, ignore_eos: bool, window: int) -> None:
        """``window``: the most tokens that the sequence can hold."""
        self._model = model
        self._sampling = sampling
        self._repetitions = Repetitions(sampling.dry, model.pieces) if sampling.dry else None
        self._stages = stages(sampling, ignore_eos=ignore_eos, window=window)
        renewed = [stage.name in RENEWED for stage in self._stages]
        self._fixed = [*renewed, True].index(True)
        """The number of stages before the first that is renewed."""
        names = [stage.name for stage in self._stages]
        self._banned = list(model.eog) if ignore_eos else []
        self._greedy = names in (["greedy"], ["ban_eog", "greedy"])
        """Nothing has to be sorted then, while a chain in C would write a list of all tokens."""
        params = llama_cpp.llama_sampler_chain_default_params()
        self._chain = llama_cpp.llama_sampler_chain_init(params)
        for stage in self._stages:
            llama_cpp.llama_sampler_chain_add(self._chain, self._make(stage, 0))

    def _make(self, stage: Stage, position: int) -> object:
        """Return the C object for a stage; ``position`` matters to those that are renewed."""
        n_vocab = self._model.n_vocab
        given = stage.arguments
        match stage.name:
            case "ban_eog":
                return _biases(n_vocab, [(token, -math.inf) for token in self._model.eog])
            case "logit_bias":
                return _biases(n_vocab, self._sampling.logit_bias)
            case "penalties":
                last_n, *penalties = given
                return llama_cpp.llama_sampler_init_penalties(n_vocab, int(last_n), *penalties)
            case "dry":
                dear = self._repetitions.penalties() if self._repetitions else []
                return _biases(n_vocab, [(token, -penalty) for token, penalty in dear])
            case "top_k":
                return llama_cpp.llama_sampler_init_top_k(int(given[0]))
            case "xtc":
                chance, threshold, keep = given
                seed = draw_seed(self._sampling.seed, position, stage=1)
                return llama_cpp.llama_sampler_init_xtc(chance, threshold, int(keep), seed)
            case "top_p" | "min_p" | "typ_p":
                return _CUTS[stage.name](given[0], int(given[1]))
            case "infill":
                # Of a vocabulary without an end llama.cpp would choose the token -1.
                if not self._model.eog:
                    return _biases(n_vocab, [])
                vocab = llama_cpp.llama_model_get_vocab(self._model.handle)
                return llama_cpp.llama_sampler_init_infill(vocab)
            case "dist":
                seed = draw_seed(self._sampling.seed, position)
                return llama_cpp.llama_sampler_init_dist(seed)
        return _SIMPLE[stage.name](*given)

    def sample(self, context: Context, row: int, position: int) -> int:
        """Sample the token after batch row ``row``.

        ``position`` counts the completion's tokens from 0.
        """
        if self._greedy:
            return context.likeliest(row, self._banned)
        self._renew(position)
        token = int(llama_cpp.llama_sampler_sample(self._chain, context.handle, row))
        if self._repetitions is not None:
            self._repetitions.accept(token)
        return token

    def sample_told(
        self, context: Context, row: int, position: int, top: int
    ) -> tuple[int, float, list[tuple[int, float]]]:
        """Sample as :meth:`sample` does, and return what the stages left, too.

        Returns the token, its log probability among those that were left, and the ``top``
        likeliest of these with theirs, best first.
        """
        if self._stages[-1].name == "greedy":
            token = self.sample(context, row, position)
            return token, 0.0, [(token, 0.0)][:top]
        self._renew(position)
        candidates = context.candidates(row)
        rows = llama_cpp.llama_token_data_array(
            data=candidates.ctypes.data_as(llama_cpp.llama_token_data_p),
            size=len(candidates),
            selected=-1,
            sorted=False,
        )
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(rows))
        token = int(candidates["id"][rows.selected])
        llama_cpp.llama_sampler_accept(self._chain, token)
        if self._repetitions is not None:
            self._repetitions.accept(token)
        kept = candidates[: rows.size]
        chances, best = left(kept["logit"], top)
        own = max(FLOOR, float(chances[rows.selected]))
        return token, own, [(int(kept["id"][at]), float(chances[at])) for at in best]

    def _renew(self, position: int) -> None:
        """Renew the stages that depend on ``position``; a chain changes only at its end."""
        last = [
            llama_cpp.llama_sampler_chain_remove(self._chain, self._fixed)
            for _ in self._stages[self._fixed :]
        ]
        for stage, made in zip(self._stages[self._fixed :], last, strict=True):
            if stage.name in RENEWED:
                llama_cpp.llama_sampler_free(made)
                made = self._make(stage, position)
            llama_cpp.llama_sampler_chain_add(self._chain, made)

    def accept(self, token: int) -> None:
        """Replay a token that was sampled elsewhere, so that penalties know it."""
        llama_cpp.llama_sampler_accept(self._chain, token)
        if self._repetitions is not None:
            self._repetitions.accept(token)

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._chain)


_CUTS = {
    "top_p": llama_cpp.llama_sampler_init_top_p,
    "min_p": llama_cpp.llama_sampler_init_min_p,
    "typ_p": llama_cpp.llama_sampler_init_typical,
}
_SIMPLE = {
    "top_n_sigma": llama_cpp.llama_sampler_init_top_n_sigma,
    "temp": llama_cpp.llama_sampler_init_temp,
    "temp_ext": llama_cpp.llama_sampler_init_temp_ext,
    "greedy": llama_cpp.llama_sampler_init_greedy,
}


def _biases(n_vocab: int, given: Collection[tuple[int, float]]) -> object:
    biases = (llama_cpp.llama_logit_bias * len(given))()
    for bias, (token, value) in zip(biases, given, strict=True):
        bias.token, bias.bias = token, value
    return llama_cpp.llama_sampler_init_logit_bias(n_vocab, len(given), biases)
