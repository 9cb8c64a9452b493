"""Answers that models are published to give, in every dialect, each with its source."""

import pytest

from demo.grounding import dialects
from demo.grounding.highlight import plain
from demo.types import Size

KILO = Size(1000, 1000)
BEETLE = Size(640, 480)  # the size of the picture in Florence-2's examples


def read(dialect, text, size, **told):
    return [
        (region.label, *(round(side, 2) for side in (region.box.x0, region.box.y0, region.box.x1, region.box.y1)))
        for region in dialects.get(dialect).parse(text, size, **told)
    ]


@pytest.mark.parametrize(
    ("dialect", "size", "text", "expected"),
    [
        pytest.param(
            "cogvlm",
            KILO,
            "a dog[[097, 514, 283, 996]]",
            [("dog", 97, 514, 283, 996)],
            id="cogvlm: zai-org/CogVLM issue 46",
        ),
        pytest.param(
            "cogagent",
            KILO,
            "Next Action: Move the cursor to the Google search bar, and type 'CogVLM' into it.\n"
            "Grounded Operation:[combobox] Search -> TYPE: CogVLM at the box [[212,498,787,564]]",
            [("Search", 212, 498, 787, 564)],
            id="cogagent: README of zai-org/CogVLM",
        ),
        pytest.param(
            "cogagent",
            Size(2000, 1000),
            "Grounded Operation: [textbox] Where are you going? -> TYPE: New York at the box [[175,309,455,356]]\n"
            "Grounded Operation:[gridcell] 1 December 2023 -> CLICK at the box [[739,564,776,611]]\n"
            "Grounded Operation: tap [[780,862]]\n\n[[781,724,887,762]]",
            [
                ("Where are you going?", 350, 309, 910, 356),
                ("1 December 2023", 1478, 564, 1552, 611),
                ("tap", 1560, 862, 1560, 862),
                ("tap", 1562, 724, 1774, 762),
            ],
            id="cogagent: figures 9 to 11 of arXiv 2312.08914",
        ),
        pytest.param(
            "kosmos2",
            Size(64, 64),
            "<grounding> An image of<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object> "
            "warming himself by<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>.",
            # the published fractions (0.390625, 0.046875, 0.984375, 0.828125) and (0.171875, 0.015625, 0.484375, ...)
            [("a snowman", 25, 3, 63, 53), ("a fire", 11, 1, 31, 57)],
            id="kosmos2: docstring of clean_text_and_extract_entities_with_bboxes in transformers",
        ),
        pytest.param(
            "kosmos2",
            KILO,
            "<phrase>a dog</phrase><object><patch_index_0044><patch_index_1024></object> <object><patch_index_0005>",
            [],
            id="kosmos2: a cell that the picture does not have, a corner without the other",
        ),
        pytest.param(
            "florence2",
            Size(640, 480),
            "</s><s>car<loc_52><loc_333><loc_932><loc_774>wheel<loc_708><loc_575><loc_813><loc_775>"
            "<loc_147><loc_563><loc_266><loc_778></s>",
            [
                ("car", 33.6, 160.08, 596.8, 371.76),
                ("wheel", 453.44, 276.24, 520.64, 372.24),
                ("wheel", 94.4, 270.48, 170.56, 373.68),
            ],
            id="florence2: raw answer to <OD> quoted by ports of the model; values as Florence2PostProcessor computes",
        ),
        pytest.param(
            "florence2",
            BEETLE,
            "</s><s><s><s>A green car<loc_54><loc_330><loc_911><loc_780>a yellow building<loc_0><loc_8><loc_998>"
            "<loc_635></s>",
            [("A green car", 34.88, 158.64, 583.36, 374.64), ("a yellow building", 0.32, 4.08, 639.04, 305.04)],
            id="florence2: tests of transformers.js, <CAPTION_TO_PHRASE_GROUNDING>, with their expected numbers",
        ),
        pytest.param(
            "florence2",
            KILO,
            "</s><s>STOP<loc_100><loc_200><loc_300><loc_205><loc_298><loc_260><loc_101><loc_255></s>",
            [("STOP", 100.5, 200.5, 300.5, 260.5)],
            id="florence2: corners of a text as <OCR_WITH_REGION> orders them (made up, the syntax is transformers')",
        ),
        pytest.param(
            "paligemma",
            KILO,
            "<loc0256><loc0256><loc0768><loc0768> cat",
            [("cat", 250, 250, 750, 750)],
            id="paligemma: documentation and tests of supervision",
        ),
        pytest.param(
            "paligemma", KILO, "<loc0256><loc0768><loc0768> cat", [], id="paligemma: tests of supervision, one missing"
        ),
        pytest.param(
            "paligemma",
            KILO,
            "<loc0256><loc0256><loc0768><loc0768><loc0768> cat",
            [],
            id="paligemma: tests of supervision, one too many",
        ),
        pytest.param(
            "paligemma",
            Size(2048, 1024),
            "<loc0246><loc0229><loc0872><loc0904> car ; <loc0000><loc0512><loc0100><loc1023><seg001><seg002> a red van",
            [("car", 458, 246, 1808, 872), ("a red van", 1024, 0, 2046, 100)],
            id="paligemma: the car of JarvisZhang24/nano-paligemma2's README, another one as the tokens allow",
        ),
        pytest.param(
            "qwen2_vl",
            KILO,
            "<|object_ref_start|>language switch<|object_ref_end|><|box_start|>(576,12),(592,42)<|box_end|><|im_end|>",
            [("language switch", 576, 12, 592, 42)],
            id="qwen2_vl: published inference script with its output",
        ),
        pytest.param(
            "qwen2_vl",
            Size(2000, 1000),
            "<|object_ref_start|>birch tree<|object_ref_end|><|box_start|>(530,351),(602,516)<|box_end|>"
            "<|box_start|>(176,106),(232,160)<|box_end|>",
            [("birch tree", 1060, 351, 1204, 516), ("birch tree", 352, 106, 464, 160)],
            id="qwen2_vl: example in a published parser",
        ),
        pytest.param(
            "qwen2_vl",
            KILO,
            "Action: click(start_box='<|box_start|>(246,113)<|box_end|>')",
            [("start_box", 246, 113, 246, 113)],
            id="qwen2_vl: modelscope/ms-swift issue 3511, a point",
        ),
        pytest.param(
            "qwen3_vl",
            KILO,
            '```json\n[\n    {"bbox_2d": [139, 768, 315, 954], "label": "cat"},\n'
            '    {"bbox_2d": [366, 679, 536, 849], "label": "dog"}\n]\n```',
            [("cat", 139, 768, 315, 954), ("dog", 366, 679, 536, 849)],
            id="qwen3_vl: documentation of supervision, pull request 2015",
        ),
        pytest.param(
            "qwen3_vl",
            Size(384, 256),
            "The spatial extent of the object is given by <|box_start|>(342,308),(670,766)<|box_end|>.",
            [("", 131.33, 78.85, 257.28, 196.1)],
            id="qwen3_vl: QwenLM/Qwen3-VL issue 1871, the older tokens",
        ),
        pytest.param(
            "glm",
            KILO,
            "\nThe coordinates of the second bottle of beer from the right on the table are "
            "<|begin_of_box|>[[94,598,177,991]]<|end_of_box|>.",
            [("", 94, 598, 177, 991)],
            id="glm: response of a GLM-4.6V server, as vLLM's recipes publish it",
        ),
        pytest.param(
            "glm",
            Size(1920, 1080),
            "[283, 263, 463, 295]",
            [("", 543.36, 284.04, 888.96, 318.6)],
            id="glm: openclaw/Peekaboo issue 60",
        ),
        pytest.param(
            "glm",
            KILO,
            "<|begin_of_box|>(110,147,193,823)<|end_of_box|> and <|begin_of_box|><190, 330, 313, 852><|end_of_box|>",
            [("", 110, 147, 193, 823), ("", 190, 330, 313, 852)],
            id="glm: brackets that the README of zai-org/GLM-V announces, numbers of its issue 118",
        ),
        pytest.param(
            "internvl",
            KILO,
            "<ref>XXX</ref><box>[[253, 231, 733, 787]]</box>",
            [("XXX", 253, 231, 733, 787)],
            id="internvl: OpenGVLab/InternVL issue 227, confirmed by a maintainer",
        ),
        pytest.param(
            "internvl",
            KILO,
            "Assistant: car[[75, 658, 250, 871], [286, 558, 444, 711]]\ntruck[[440, 208, 502, 255]]\n"
            "pedestrian[[0, 1000, 999, 998]]",
            [
                ("car", 75, 658, 250, 871),
                ("car", 286, 558, 444, 711),
                ("truck", 440, 208, 502, 255),
                ("pedestrian", 0, 998, 999, 1000),
            ],
            id="internvl: OpenGVLab/InternVL issue 953, InternVL2.5-8B without its tags",
        ),
        pytest.param(
            "internvl",
            KILO,
            "In the image, a tall red <ref>bus</ref><box>[[290, 202, 835, 851]]</box> and <ref>a road</ref>"
            "<box>[[0, 604, 984, 999], [290, 202, 835, 851]]</box>",
            [("bus", 290, 202, 835, 851), ("a road", 0, 604, 984, 999), ("a road", 290, 202, 835, 851)],
            id="internvl: scene caption of a model that shares the syntax (All-Seeing), shortened",
        ),
        pytest.param(
            "minicpm",
            Size(2000, 500),
            "<ref>book</ref><box>100 200 900 800</box>",
            [("book", 200, 100, 1800, 400)],
            id="minicpm: syntax of OpenBMB/MiniCPM-V issue 982",
        ),
        pytest.param(
            "deepseek",
            Size(999, 1998),
            "<|ref|>text<|/ref|><|det|>[[120, 68, 270, 82]]<|/det|>\n# Parameter: \n\n"
            "<|ref|>equation<|/ref|><|det|>[[120, 84, 275, 100]]<|/det|>\n\\(f = (x+1)*2*x;\\)\n",
            [("text", 120, 136, 270, 164), ("equation", 120, 168, 275, 200)],
            id="deepseek: transcript of DeepSeek-OCR",
        ),
        pytest.param(
            "deepseek",
            Size(999, 999),
            "<|ref|>head without helmet<|/ref|><|det|>[[0, 50, 55, 9999], [0, 5, 533, 17, " + "9" * 400,
            [("head without helmet", 0, 50, 55, 999)],
            id="deepseek: deepseek-ai/DeepSeek-VL2 issue 96, a model that loses its way",
        ),
        pytest.param(
            "molmo",
            KILO,
            'Counting the <points x1="9.1" y1="11.7" x2="17.2" y2="41.3" alt="the boats">the boats</points> shows a '
            "total of 2.",
            [("the boats", 91, 117, 91, 117), ("the boats", 172, 413, 172, 413)],
            id="molmo: stories of Ai2's playground, shortened",
        ),
        pytest.param(
            "molmo",
            KILO,
            '<point x="63.3" y="85.8" alt="Small fishing boat">Small fishing boats</point> are visible, along with \n'
            '<point x="76.8" y="61.8" alt="Sailboat with blue sail">sailboats</point>',
            [("Small fishing boats", 633, 858, 633, 858), ("sailboats", 768, 618, 768, 618)],
            id="molmo: stories of Ai2's playground",
        ),
        pytest.param(
            "molmo",
            KILO,
            '<points coords="1 1 308 305 2 752 377">curb ramp</points>',
            [("curb ramp", 308, 305, 308, 305), ("curb ramp", 752, 377, 752, 377)],
            id="molmo: verbatim answer of Molmo2-8B in a published test",
        ),
        pytest.param(
            "molmo",
            KILO,
            'Counting the <points coords="1 1 073 160 2 173 600\t2 3 373 460" alt="boats">the boats</points>',
            [("the boats", 73, 160, 73, 160), ("the boats", 173, 600, 173, 600), ("the boats", 373, 460, 373, 460)],
            id="molmo: stories of Ai2's playground, two pictures",
        ),
        pytest.param(
            "json",
            KILO,
            '{"bbox_2d": [0.280, 0.500, 0.520, 0.700]}',
            [("", 280, 500, 520, 700)],
            id="json: MoonshotAI/Kimi-VL issue 56",
        ),
        pytest.param(
            "json",
            Size(1000, 500),
            '[{"box_2d": [400, 200, 600, 400], "label": "curb ramp"}]',
            [("curb ramp", 200, 200, 400, 300)],
            id="json: Gemini's documented order, y first",
        ),
        pytest.param(
            "json",
            Size(1920, 1080),
            "The bounding box is [528, 69, 643, 119]",
            [("", 1013.76, 74.52, 1234.56, 128.52)],
            id="json: InternLM/InternLM-XComposer issue 329",
        ),
    ],
)
def test_published_answers_are_read(dialect, size, text, expected):
    assert read(dialect, text, size) == expected


def test_pixels_of_the_picture_that_the_model_saw_become_pixels_of_the_picture():
    # QwenLM/Qwen3-VL issue 1035: 368 x 434 is resized to 364 x 448, and the answer leaves the picture.
    size, text = Size(368, 434), '```json\n[\n\t{"bbox_2d": [19, 300, 154, 476], "label": "metal head"}\n]\n```'
    expected = [("metal head", 19.21, 290.62, 155.69, 434)]
    assert read("qwen2_5_vl", text, size) == expected
    assert read("qwen2_5_vl", text, size, seen=Size(364, 448)) == expected
    assert read("qwen2_5_vl", text, size, seen=Size(182, 448)) == [("metal head", 38.42, 290.62, 311.38, 434)]


def test_the_cookbooks_motorcyclists_are_named_and_the_rest_of_an_object_is_not_shown():
    text = (
        "```json\n[\n"
        '\t{"bbox_2d": [341, 258, 397, 360], "label": "motorcyclist", "sub_label": "not wearing helmat"},\n'
        '\t{"bbox_2d": [212, 332, 274, 448], "label": "motorcyclist", "sub_label": "wearing helmat"}\n'
        "]\n```"
    )  # the spatial_understanding cookbook of Qwen2.5-VL
    size = Size(1008, 756)  # 28 divides it, so that the model sees it as it is
    assert read("qwen2_5_vl", text, size) == [
        ("motorcyclist", 341, 258, 397, 360),
        ("motorcyclist", 212, 332, 274, 448),
    ]
    regions = dialects.get("qwen2_5_vl").parse(text, size)
    assert plain(text, regions) == "motorcyclist,\n\tmotorcyclist"


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        (
            "kosmos2",
            " An image of<phrase> a snowman</phrase><object><patch_index_0044><patch_index_0863></object> "
            "warming himself by<phrase> a fire</phrase><object><patch_index_0005><patch_index_0911></object>.",
            "An image of a snowman warming himself by a fire.",  # as the published processor has it
        ),
        ("florence2", "</s><s>car<loc_5><loc_3><loc_93><loc_77>, door<loc_1><loc_2><loc_3><loc_4></s>", "car, door"),
        (
            "paligemma",
            "<loc0246><loc0229><loc0872><loc0904> car ; <loc0000><loc0512><loc0100><loc1023> van",
            "car ; van",
        ),
        (
            "qwen2_vl",
            "See <|object_ref_start|>a dog<|object_ref_end|><|box_start|>(5,1),(9,4)<|box_end|>.",
            "See a dog.",
        ),
        ("internvl", "a tall <ref>bus</ref><box>[[29, 20, 83, 85]]</box> here", "a tall bus here"),
        ("deepseek", "<|ref|>title<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>\n# Words", "title\n# Words"),
        ("minicpm", "<ref>ball</ref><box>1 2 3 4</box>", "ball"),
        ("molmo", 'Counting the <points coords="1 1 073 160">boats</points> shows 1.', "Counting the boats shows 1."),
        ("glm", "It is at <|begin_of_box|>[[94,598,177,991]]<|end_of_box|>.", "It is at."),
        ("json", 'Found: ["dog", [0.1, 0.2, 0.3, 0.4]]', "Found: dog"),
        ("json", '{"dog": [0.1, 0.2, 0.3, 0.4], "cat": [0.1, 0.2, 0.3, 0.4]}', "dog, cat"),
        ("qwen3_vl", '{"objects": [{"bbox_2d": [1,2,3,4]}, {"bbox_2d": [1,2,3,4]}]}', ""),
    ],
)
def test_syntax_goes_and_words_stay_where_an_answer_is_read_by_people(dialect, text, expected):
    assert plain(text, dialects.get(dialect).parse(text, KILO)) == expected
