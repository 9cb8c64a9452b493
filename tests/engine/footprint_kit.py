"""A configuration in the form in which CogVLM was published, of a model small enough to be built in a test."""

CONFIG = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 272,
    "tie_word_embeddings": True,
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 4,
        "image_size": 56,
        "num_positions": 17,
    },
}
