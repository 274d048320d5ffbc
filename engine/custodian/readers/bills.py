"""Bills that people download for themselves: layouts known without a profile, so that any of them can be looked at."""

from __future__ import annotations

from engine.custodian.layouts import CsvLayout
from engine.custodian.statement import Kind

PERSONAL = (
    CsvLayout(
        encoding="gbk",
        fields={
            "booked_on": "交易时间",
            "direction": "收/支",
            "amount": "金额",
            "bank_reference": "交易订单号",
            "reference": "商家订单号",
        },
        date_format="%Y-%m-%d %H:%M:%S",
        directions={"收入": "credit", "支出": "debit"},
        totals={"count": "共", "credits": "收入：", "debits": "支出："},
    ),
    CsvLayout(
        encoding="utf-8-sig",
        fields={
            "booked_on": "交易时间",
            "direction": "收/支",
            "amount": "金额(元)",
            "bank_reference": "交易单号",
            "reference": "商户单号",
        },
        date_format="%Y-%m-%d %H:%M:%S",
        directions={"收入": "credit", "支出": "debit"},
        totals={"count": "共", "credits": "收入：", "debits": "支出："},
    ),
    CsvLayout(
        encoding="utf-8",
        fields={
            "booked_on": "交易日期",
            "kind": "摘要",
            "credit": "记账金额(收入)",
            "debit": "记账金额(支出)",
            "currency": "记账币种",
            "balance": "余额",
            "reference": "交易详情",
        },
        kinds={"利息": Kind.INTEREST, "手续费": Kind.CHARGE, "退款": Kind.RETURN},
        totals={"credits": "人民币合计", "debits": "人民币合计"},
    ),
)
"""Alipay's and WeChat's bills of a person, and ICBC's of a debit card."""
