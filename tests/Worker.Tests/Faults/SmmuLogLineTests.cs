using CsCheck;
using Worker.Faults;
using Xunit;

namespace Worker.Tests.Faults;

public sealed class SmmuLogLineTests
{
    [Theory]
    [InlineData("6,412,1234567,-;arm-smmu-v3 9050000.smmuv3: event 0x10 received:\n SUBSYSTEM=platform\n DEVICE=+platform:9050000.smmuv3\n", "9050000.smmuv3", "F_TRANSLATION", null)]
    [InlineData("3,412,1,-;arm-smmu-v3 arm-smmu-v3.0.auto: event 0x0a received:", "arm-smmu-v3.0.auto", "C_BAD_CD", null)]
    [InlineData("6,412,1,c,caller=T7;arm-smmu-v3 x: event 0xff received:", "x", "UNKNOWN", null)]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: F_TRANSLATION client: 0000:01:00.0 sid: 0x100 ssid: 0x0 iova: 0xffff8000 ipa: 0x0\n SUBSYSTEM=pci", "x", "F_TRANSLATION", "0000:01:00.0")]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: C_BAD_STREAMID client: (unassigned sid) sid: 0x100 ssid: 0x0", "x", "C_BAD_STREAMID", "(unassigned sid)")]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: UNKNOWN client: 0000:01:00.0 sid: 0x100 ssid: 0x0", "x", "UNKNOWN", "0000:01:00.0")]
    public void Parse_OfAnEvent_IsItsSmmuAndType(string record, string smmu, string type, string? client) =>
        Assert.Equal(new SmmuLogLine(412, smmu, type, client), SmmuLogLine.Parse(record));

    [Theory]
    [InlineData("")]
    [InlineData(";")]
    [InlineData("6,412,1,-;")]
    [InlineData("6,412;arm-smmu-v3 x: event 0x10 received:")]
    [InlineData("14,412,1,-;arm-smmu-v3 x: event 0x10 received:")] // written by user space
    [InlineData("-6,412,1,-;arm-smmu-v3 x: event 0x10 received:")]
    [InlineData("6,99999999999999999999999,1,-;arm-smmu-v3 x: event 0x10 received:")]
    [InlineData("6,412,1,-;arm-smmu-v3 x: \t0x0000000000000010")]
    [InlineData("6,412,1,-;arm-smmu-v3 x: event 0x100 received:")]
    [InlineData("6,412,1,-;arm-smmu-v3 x: event 0x received:")]
    [InlineData("6,412,1,-;arm-smmu-v3 x: event 0xzz received:")]
    [InlineData("6,412,1,-;arm-smmu-v3 x: event 0x10 received: twice")]
    [InlineData("6,412,1,-;arm-smmu-v3 x: event 0x received:0x10 received:")]
    [InlineData("6,412,1,-;arm-smmu-v3 a b: event 0x10 received:")]
    [InlineData("6,412,1,-;arm-smmu-v3 : event 0x10 received:")]
    [InlineData("6,412,1,-;arm-smmu-v3 x: unexpected PRI request received:")]
    [InlineData("6,412,1,-;evil: arm-smmu-v3 x: event 0x10 received:")]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: f_translation client: 0000:01:00.0 sid: 0x100")]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: F client: 0000:01:00.0 sid: 0x100")]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: F_TRANSLATION client:  sid: 0x100")]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: F_TRANSLATION client: 0000:01:00.0")]
    [InlineData("3,412,1,-;arm-smmu-v3 x: event: F_TRANSLATION sid: 0x100 client: 0000:01:00.0")]
    [InlineData("6,412,1,-;other\narm-smmu-v3 x: event 0x10 received:")]
    public void Parse_OfAnythingElse_IsNull(string record) => Assert.Null(SmmuLogLine.Parse(record));

    [Fact]
    public void TypeOf_HasEachNumberOfTheSpecificationUnderOneName()
    {
        var known = Enumerable.Range(0, 256).Select(n => SmmuLogLine.TypeOf((byte)n)).Where(t => t != SmmuLogLine.Unknown).ToList();
        Assert.Equal(19, known.Count);
        Assert.Equal(known.Count, known.Distinct().Count());
        Assert.All(known, type => Assert.Matches("^[CEF]_[A-Z_]+$", type));
    }

    [Fact]
    public void Parse_OfAnyText_NeverThrowsAndNamesOnlyTypes() =>
        Gen.Select(Gen.String[Gen.Char["0123456789,;:-x \n\tarm-smmu-v3eventF_clid()"], 0, 120], Gen.Bool).Sample((text, plausible) =>
        {
            var line = SmmuLogLine.Parse(plausible ? "6,1,1,-;arm-smmu-v3 x: event: F" + text : text);
            return line is not { } found || found.Type.All(c => char.IsAsciiLetterUpper(c) || char.IsAsciiDigit(c) || c == '_');
        });
}
