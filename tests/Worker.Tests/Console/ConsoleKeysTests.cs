using System.Text;
using Worker.Console;
using Xunit;

namespace Worker.Tests.Console;

public sealed class ConsoleKeysTests
{
    [Theory]
    [InlineData("", "")]
    [InlineData("ls\n", "ls\n")]
    [InlineData("\u0001", "\u0001\u0001")]
    [InlineData("\u0001x", "\u0001\u0001x")]
    [InlineData("a\u0001\u0001b", "a\u0001\u0001|\u0001\u0001b")]
    [InlineData("abc\u0001", "abc|\u0001\u0001")]
    [InlineData("abcdefgh", "abcd|efgh")]
    public void Parts_DoubleTheEscapeAndTearNoPair(string keys, string parts) =>
        Assert.Equal(parts, string.Join('|', ConsoleKeys.Parts(Encoding.Latin1.GetBytes(keys), 4).Select(Encoding.Latin1.GetString)));
}
