"""News with Chinese texts: refused as words, learned as characters, and readable in the gallery."""

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cmr_lightning.callbacks.gallery import RetrievalGallery
from cmr_lightning.encoders import TimmEncoder, WordRNN
from cmr_lightning.errors import UserError
from cmr_lightning.methods.info_nce import InfoNCE
from cmr_lightning.runs.run import Run
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import WordTokens, WordWeights
from datamodules.pairs import Pairs
from tests.building import trainer
from tests.cmr_lightning.callbacks.made_font import font_with

NEWS = {
    "足球": [
        "主队在补时阶段攻入制胜球，球迷冲进场内庆祝",
        "国家队公布新一期大名单，三名年轻球员首次入选",
        "守门员连续扑出两个点球，帮助球队晋级决赛",
        "联赛冠军提前两轮产生，主教练感谢全体球员",
        "前锋因伤缺席下一场比赛，球队进攻受到影响",
        "女足姑娘三比一逆转对手，球迷彻夜庆祝",
        "裁判经过录像回放取消了这个进球",
        "球队在客场零比零战平对手，主教练赛后表示满意",
        "年轻前锋上演帽子戏法，球队大胜对手",
        "决赛门票一小时售完，球迷排起长队",
    ],
    "暴雨": [
        "气象台发布暴雨红色预警，市区多条道路积水",
        "连日暴雨导致河水上涨，沿岸居民紧急转移",
        "受台风影响，沿海地区今晚将有大到暴雨",
        "暴雨过后，消防员划船救出被困居民",
        "气象台预计降雨将持续三天，部分地区有暴雨",
        "山区暴雨引发泥石流，道路一度中断",
        "暴雨致使多个航班延误，气象台提醒市民少出门",
        "河水漫过堤坝，居民用沙袋挡住积水",
        "强降雨致地下车库积水，消防员连夜抽水",
        "台风登陆后减弱，降雨范围扩大到山区",
    ],
    "股市": [
        "沪指今日收盘上涨百分之二，银行股领涨",
        "受外围市场影响，股指早盘下跌，投资者观望",
        "央行宣布降低利率，股市成交量明显放大",
        "科技股大幅回落，投资者损失超过三成",
        "新股上市首日收盘上涨一倍，成交量创新高",
        "银行股午后走低，拖累股指收盘下跌",
        "投资者等待央行利率决定，市场成交清淡",
        "基金经理看好消费股，认为市场估值偏低",
        "股指连续五日上涨，成交量突破万亿",
        "证券公司下调科技股评级，股价应声下跌",
    ],
    "高铁": [
        "新高铁线路今天通车，两地列车运行缩短到一小时",
        "春运首日铁路发送旅客超过千万人次",
        "列车因设备故障晚点，车站为旅客安排改签",
        "铁路部门增开夜间列车，方便旅客返乡",
        "高铁车站启用刷脸进站，旅客通行更快",
        "列车员在车厢里帮助旅客找回丢失的行李",
        "跨海高铁大桥合龙，明年列车将通车运行",
        "高铁票价下调一成，旅客可提前十五天购票",
        "暑运期间铁路客流增长，车站增开售票窗口",
        "首列智能高铁列车下线，运行时速三百五十公里",
    ],
}
COLOURS = ((30, 140, 40), (40, 60, 150), (190, 40, 40), (200, 200, 190))
"""What a picture of each kind of news is mostly of: grass, water, figures in red, a white train."""


@pytest.fixture(scope="module")
def newspaper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures with a text each, in a table."""
    root = tmp_path_factory.mktemp("news")
    rng = np.random.default_rng(0)
    with (root / "news.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "text", "label"])
        for (kind, texts), colour in zip(NEWS.items(), COLOURS, strict=True):
            for number, text in enumerate(texts):
                noise = rng.integers(-60, 61, (20, 20, 3))
                picture = Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))
                picture.save(root / f"{kind}{number}.png")
                table.writerow([f"{kind}{number}.png", text, kind])
    return root


def news(root: Path, text: WordTokens | WordWeights) -> Pairs:
    return Pairs(str(root), "news.csv", image=Pictures(16, 16, workers=0), text=text, batch_size=12, test_fraction=0.3)


@pytest.mark.parametrize("kind", [WordTokens, WordWeights])
def test_as_words_they_are_refused_with_the_remedy(newspaper: Path, kind: type[WordTokens | WordWeights]) -> None:
    with pytest.raises(UserError, match=r"occur once, .*; set data\.text\.splitting to characters"):
        news(newspaper, kind()).part("train")


def test_as_characters_they_are_found_far_better_than_by_chance_and_can_be_read(
    newspaper: Path, tmp_path: Path, said: Callable[[], str]
) -> None:
    """Chance is a mean average precision of 0.4: three of twelve are relevant."""
    data = news(newspaper, WordTokens(splitting="characters"))
    torch.manual_seed(0)
    model = InfoNCE(
        spec=data.spec,
        image_encoder=partial(TimmEncoder, model="test_resnet"),
        text_encoder=partial(WordRNN, embedding=32, hidden=32),
        dim=16,
        generator_optimizer=partial(torch.optim.Adam, lr=0.003),
    )
    run = trainer(max_epochs=20, callbacks=[RetrievalGallery(Run(tmp_path))])
    with font_with("".join(text for texts in NEWS.values() for text in (*texts, *NEWS)), tmp_path / "f.ttf"):
        run.fit(model, data)
        run.test(model, data, verbose=False)
    assert float(run.callback_metrics["test/map@all/cos/label/mean"]) > 0.7
    assert data.unknown_words == {"test": pytest.approx(0.322, abs=0.001)}
    printed = said()
    assert "Unknown words in the test texts: 32.2%" in printed
    assert "no font" not in printed
