using System.Security.Cryptography;
using GuestAgent.Sessions;
using Xunit;

namespace Worker.Tests.GuestAgentParts;

public sealed class Sha256Tests
{
    [Fact]
    public void Finish_OfAnyLengthInAnyParts_IsWhatTheSystemComputes()
    {
        var random = new Random(1);
        for (var length = 0; length < 400; length++)
        {
            var data = new byte[length];
            random.NextBytes(data);
            var hash = new Sha256();
            for (var at = 0; at < length;)
            {
                var part = random.Next(1, length - at + 1);
                hash.Append(data.AsSpan(at, part));
                at += part;
            }
            Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(data)), hash.Finish());
        }
    }
}
