using Worker.Checks;
using Xunit;

namespace Worker.Tests.Checks;

public sealed class ReasonsDocumentTests
{
    [Fact]
    public void NeoverseNode_ListsEveryReasonAsTheCodeHasIt()
    {
        var repository = Environment.GetEnvironmentVariable("SANDBOX_REPOSITORY");
        Assert.False(string.IsNullOrEmpty(repository), "run the tests with ./sandbox test");
        var document = File.ReadAllText(Path.Combine(repository, "docs/neoverse-node.md"));
        var table = document[(document.IndexOf("## Reason codes", StringComparison.Ordinal) + "## Reason codes".Length)..].Trim();
        Assert.Equal(ReasonsDocument.Markdown().Trim(), table);
    }
}
