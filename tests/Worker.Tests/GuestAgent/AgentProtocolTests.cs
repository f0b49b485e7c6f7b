using System.Text;
using System.Text.Json;
using Contracts;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class AgentProtocolTests
{
    [Fact]
    public void Command_WhenSentAndRead_IsTheSame()
    {
        AgentCommand[] commands =
            [new AgentHello(1), new AgentConfigure("#!/bin/sh\necho ä\n", ["ssh-ed25519 AAAA"]), new AgentBlockRead(7, 32), new AgentPowerOff()];
        foreach (var command in commands)
        {
            var line = JsonSerializer.Serialize(command, AgentJson.Default.AgentCommand);
            Assert.DoesNotContain('\n', line);
            Assert.StartsWith("{\"type\":", line, StringComparison.Ordinal);
            var read = JsonSerializer.Deserialize(line, AgentJson.Default.AgentCommand);
            Assert.Equal(command.GetType(), read?.GetType());
            Assert.Equal(line, JsonSerializer.Serialize(read, AgentJson.Default.AgentCommand));
        }
    }

    [Fact]
    public void Configure_WhenUserDataAndKeysAreAsLargeAsTheyMayBe_FitsALine()
    {
        // Every byte of the text as badly escaped as JSON can be: six bytes for one.
        var command = new AgentConfigure(new string('\u0001', 16384), [.. Enumerable.Repeat(new string('+', 1024), 16)]);
        var line = JsonSerializer.Serialize<AgentCommand>(command, AgentJson.Default.AgentCommand);
        Assert.True(Encoding.UTF8.GetByteCount(line) < AgentProtocol.MaxLineBytes);
    }

    [Fact]
    public void Probe_WhenNothingWasReadable_WritesNulls()
    {
        var probe = new AgentProbe([new("0000:01:00.0", "1234", "11e8", ProbeOutcome.Failed, "NoIommuGroup", "m", null, null, null, null, null, null, null, null, 1)]);
        var line = JsonSerializer.Serialize<AgentMessage>(probe, AgentJson.Default.AgentMessage);
        Assert.Contains("\"pasid\":null", line, StringComparison.Ordinal);
        Assert.Contains("\"outcome\":\"Failed\"", line, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"type\":\"reformatDisk\"}")]
    [InlineData("{\"protocol\":1}")]
    [InlineData("[]")]
    [InlineData("garbage")]
    [InlineData("{\"type\":\"blockRead\",\"id\":\"x\"}")]
    public void Command_WhenLineIsNoCommand_IsRefusedAsTheAgentExpects(string line)
    {
        var error = Record.Exception(() => JsonSerializer.Deserialize(line, AgentJson.Default.AgentCommand));
        Assert.True(error is JsonException or NotSupportedException, $"{error}");
    }
}
