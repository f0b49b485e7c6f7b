using System.Text;
using GuestAgent;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class LineSplitterTests
{
    [Fact]
    public void Push_WhenALineArrivesByteByByte_AnswersItOnce()
    {
        var splitter = new LineSplitter(100);
        var lines = Encoding.UTF8.GetBytes("{\"type\":\"hello\"}\n").SelectMany(one => splitter.Push([one])).ToList();
        Assert.Equal("{\"type\":\"hello\"}", Encoding.UTF8.GetString(Assert.Single(lines)));
    }

    [Fact]
    public void Push_WhenLinesAreEmptyOrEndWithCarriageReturn_AnswersOnlyTheText() =>
        Assert.Equal(["a", "b"], Lines(new LineSplitter(10), "\n\r\na\r\n\nb\n"));

    [Fact]
    public void Push_WhenALineIsTooLong_DropsItWholeAndReadsTheNext()
    {
        var splitter = new LineSplitter(4);
        Assert.Equal(["1234", "ok"], Lines(splitter, "1234\n12345678901\nok\n"));
        Assert.Equal(1, splitter.DroppedLines);
    }

    [Fact]
    public void Push_WhenATooLongLineComesInPieces_DropsItWhole()
    {
        var splitter = new LineSplitter(4);
        Assert.Empty(Lines(splitter, "12345"));
        Assert.Empty(Lines(splitter, "67"));
        Assert.Equal(["x"], Lines(splitter, "8\nx\n"));
        Assert.Equal(1, splitter.DroppedLines);
    }

    [Fact]
    public void Reset_WhenAConnectionEndedInALine_DoesNotJoinItToTheNext()
    {
        var splitter = new LineSplitter(100);
        Assert.Empty(Lines(splitter, "{\"type\":\"conf"));
        splitter.Reset();
        Assert.Equal(["{\"type\":\"hello\"}"], Lines(splitter, "{\"type\":\"hello\"}\n"));
    }

    private static List<string> Lines(LineSplitter splitter, string text) =>
        [.. splitter.Push(Encoding.UTF8.GetBytes(text)).Select(line => Encoding.UTF8.GetString(line))];
}
