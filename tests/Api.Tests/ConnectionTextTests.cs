using Api.Data;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Mvc.Testing;
using Testing;
using Xunit;

namespace Api.Tests;

public sealed class ConnectionTextTests(PostgresFixture postgres) : IClassFixture<PostgresFixture>
{
    [Theory]
    [InlineData("Host=a", null, "Host=a")]
    [InlineData("Host=a", "", "Host=a")]
    [InlineData(null, "/file", "Host=b")]
    [InlineData(" ", "/file", "Host=b")]
    public void Choose_WhenOneIsGiven_IsThat(string? text, string? file, string chosen) => Assert.Equal(chosen, ConnectionText.Choose(text, file, _ => "Host=b\n"));

    [Theory]
    [InlineData(null, null)]
    [InlineData("", " ")]
    [InlineData("Host=a", "/file")]
    public void Choose_WhenNoneOrBothAreGiven_Refuses(string? text, string? file) =>
        Assert.Contains("either", Assert.Throws<InvalidOperationException>(() => ConnectionText.Choose(text, file, _ => "Host=b")).Message, StringComparison.Ordinal);

    [Fact]
    public void Choose_WhenTheFileIsEmpty_NamesIt() =>
        Assert.Contains("/file", Assert.Throws<InvalidOperationException>(() => ConnectionText.Choose(null, "/file", _ => " \n")).Message, StringComparison.Ordinal);

    [Fact]
    public async Task Api_WithTheConnectionInAFile_AnswersHealthy()
    {
        var file = Path.Combine(Surroundings.NewDirectory("connection"), "connection");
        await File.WriteAllTextAsync(file, postgres.ConnectionString + ";Maximum Pool Size=5\n");
        await using var factory = new WebApplicationFactory<SandboxDb>().WithWebHostBuilder(b => b.UseSetting("ConnectionStrings:SandboxFile", file));
        using var answer = await factory.CreateClient().GetAsync("/health");
        Assert.Equal(System.Net.HttpStatusCode.OK, answer.StatusCode);
    }
}
