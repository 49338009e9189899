"""The tokenizer of the shipped policies, and the instructions that it was made from."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from evo1_policy.model.preprocessing import SPECIAL_TOKENS

INSTRUCTIONS = (
    "pick up the can and place it in the box",
    "put the can into the white box",
    "pick up the cube and place it in the box",
    "put the cube into the box",
    "pour the foam from the cup into the box",
    "hand over the cup",
    "stack the cans",
    "move the arm to the home pose",
    "open the gripper",
    "close the gripper and lift the object",
    "push the red block to the left",
    "wave",
)


def train_tokenizer() -> Tokenizer:
    """A byte-level BPE of 512 tokens with Evo-1's special tokens; any text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[*SPECIAL_TOKENS[:1], "<|im_start|>", "<|im_end|>", *SPECIAL_TOKENS[1:]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    prompts = [f"Image-{k}: \n{text}" for text in INSTRUCTIONS for k in (1, 2, 3)]
    tokenizer.train_from_iterator(prompts, trainer)
    return tokenizer
